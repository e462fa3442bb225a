//! GPT-2 (Radford et al. 2019): the listing of its weights and activations, forward and backward.
//!
//! Pre-norm blocks: x + attn_out(attention(qkv(norm_1(x)))), then x + mlp_down(gelu(mlp_up(norm_2(x)))).

use std::borrow::Cow;
use std::iter;

use ndarray::{ArrayView2, ArrayViewMut2};
use selvedge_tensor::attention::KvCache;
use selvedge_tensor::gelu::Form;
use selvedge_tensor::{Context, Real, embedding, layernorm};

use crate::architecture::{
    Architecture, Attend, Fold, LossSum, Mode, Ragged, Rows, Tunable, attend, attend_backward,
    clear_additions, head_input, head_logits, head_losses, head_losses_and_gradient, input_output,
};
use crate::config::{Activation, Config};
use crate::held::Weights;
use crate::init::DEVIATION;
use crate::layout::{Allocator, Carver, Init, Layout, Slot, Span, flat, read};
use crate::lora::Adapted;
use crate::sequences::{Sequences, positions};
use crate::weight::{Gradient, Weight, linear_backward, linear_gelu_backward};

/// Weights of one block, whatever is held for each.
#[derive(Debug)]
struct Block<W> {
    qkv_weight: W,      // (3C, C)
    attn_out_weight: W, // (C, C)
    mlp_up_weight: W,   // (F, C)
    mlp_down_weight: W, // (C, F)
    norm_1_weight: W,   // (1, C)
    norm_1_bias: W,     // (1, C)
    qkv_bias: W,        // (1, 3C)
    attn_out_bias: W,   // (1, C)
    norm_2_weight: W,   // (1, C)
    norm_2_bias: W,     // (1, C)
    mlp_up_bias: W,     // (1, F)
    mlp_down_bias: W,   // (1, C)
}

impl<W> Block<W> {
    /// The only list of the fields, in memory order: those that decay first.
    fn map<'a, U>(&'a self, f: &mut impl FnMut(&'a W) -> U) -> Block<U> {
        Block {
            qkv_weight: f(&self.qkv_weight),
            attn_out_weight: f(&self.attn_out_weight),
            mlp_up_weight: f(&self.mlp_up_weight),
            mlp_down_weight: f(&self.mlp_down_weight),
            norm_1_weight: f(&self.norm_1_weight),
            norm_1_bias: f(&self.norm_1_bias),
            qkv_bias: f(&self.qkv_bias),
            attn_out_bias: f(&self.attn_out_bias),
            norm_2_weight: f(&self.norm_2_weight),
            norm_2_bias: f(&self.norm_2_bias),
            mlp_up_bias: f(&self.mlp_up_bias),
            mlp_down_bias: f(&self.mlp_down_bias),
        }
    }
}

/// All weights.
#[derive(Debug)]
struct Params<W> {
    token_embedding: W,    // (V, C)
    position_embedding: W, // (context, C)
    blocks: Vec<Block<W>>,
    norm_f_weight: W, // (1, C)
    norm_f_bias: W,   // (1, C)
    head: Option<W>,  // (V, C) when untied
}

impl<W> Params<W> {
    fn map<'a, U>(&'a self, f: &mut impl FnMut(&'a W) -> U) -> Params<U> {
        Params {
            token_embedding: f(&self.token_embedding),
            position_embedding: f(&self.position_embedding),
            blocks: self.blocks.iter().map(|block| block.map(f)).collect(),
            norm_f_weight: f(&self.norm_f_weight),
            norm_f_bias: f(&self.norm_f_bias),
            head: self.head.as_ref().map(f),
        }
    }

    /// The output head: its own weight, or the token embedding.
    fn head(&self) -> &W {
        self.head.as_ref().unwrap_or(&self.token_embedding)
    }

    fn head_mut(&mut self) -> &mut W {
        self.head.as_mut().unwrap_or(&mut self.token_embedding)
    }
}

/// Activations inside one block; N = B·T.
#[derive(Debug)]
struct BlockActs<A> {
    norm_1: A,         // (N, C)
    mean_1: A,         // (1, N)
    rstd_1: A,         // (1, N)
    qkv: A,            // (N, 3C)
    attn: A,           // (N, C)
    lse: A,            // (1, B·H·T)
    mid: A,            // (N, C), the residual stream after attention
    norm_2: A,         // (N, C)
    mean_2: A,         // (1, N)
    rstd_2: A,         // (1, N)
    gelu: A,           // (N, F)
    slopes: Option<A>, // (N, F), of gelu, for a backward
}

impl<A> BlockActs<A> {
    fn map<U>(&self, f: &mut impl FnMut(&A) -> U) -> BlockActs<U> {
        BlockActs {
            norm_1: f(&self.norm_1),
            mean_1: f(&self.mean_1),
            rstd_1: f(&self.rstd_1),
            qkv: f(&self.qkv),
            attn: f(&self.attn),
            lse: f(&self.lse),
            mid: f(&self.mid),
            norm_2: f(&self.norm_2),
            mean_2: f(&self.mean_2),
            rstd_2: f(&self.rstd_2),
            gelu: f(&self.gelu),
            slopes: self.slopes.as_ref().map(&mut *f),
        }
    }
}

/// Gradients of activations, one set for all blocks.
#[derive(Debug)]
struct Back<A> {
    dnorm: A, // (N, C)
    dqkv: A,  // (N, 3C)
    dattn: A, // (N, C)
    dup: A,   // (N, F)
}

/// All activations.
#[derive(Debug)]
struct Acts<A> {
    embedded: A, // (N, C)
    blocks: Vec<BlockActs<A>>,
    outs: Vec<A>, // (N, C), the residual stream after each block
    /// Of rows whose logits are wanted, where those are not all: copies of the last block's output.
    picked: Option<A>, // (W, C)
    norm_f: A,    // (N, C)
    mean_f: A,    // (1, N)
    rstd_f: A,    // (1, N)
    logits: A,    // (R, V), R rows after another
    losses: A,    // (1, N)
    back: Option<Back<A>>,
}

impl<A> Acts<A> {
    fn map<U>(&self, f: &mut impl FnMut(&A) -> U) -> Acts<U> {
        Acts {
            embedded: f(&self.embedded),
            blocks: self.blocks.iter().map(|block| block.map(f)).collect(),
            outs: self.outs.iter().map(&mut *f).collect(),
            picked: self.picked.as_ref().map(&mut *f),
            norm_f: f(&self.norm_f),
            mean_f: f(&self.mean_f),
            rstd_f: f(&self.rstd_f),
            logits: f(&self.logits),
            losses: f(&self.losses),
            back: self.back.as_ref().map(|back| Back {
                dnorm: f(&back.dnorm),
                dqkv: f(&back.dqkv),
                dattn: f(&back.dattn),
                dup: f(&back.dup),
            }),
        }
    }
}

type Views<'a, T> = Acts<ArrayViewMut2<'a, T>>;

/// The GPT-2 wiring for one configuration.
#[derive(Debug)]
pub(crate) struct Gpt2 {
    config: Config,
    params: Params<Slot>,
    layout: Layout,
    form: Form,
}

impl Gpt2 {
    /// The wiring of a validated configuration.
    pub(crate) fn new(config: Config) -> Self {
        let (params, layout) = lay_out(&config);
        let form = if config.activation == Activation::Gelu { Form::Exact } else { Form::Tanh };
        Gpt2 { layout, config, params, form }
    }

    fn plan(&self, batch: usize, time: usize, mode: Mode) -> (Acts<Span>, usize) {
        let Config { channels: c, hidden: f, heads, vocab, layers, .. } = self.config;
        let n = batch * time;
        let mut allocator = Allocator::default();
        let mut span = |rows, cols| allocator.span(rows, cols);
        let head_rows = mode.head_rows(n);
        let acts = Acts {
            embedded: span(n, c),
            blocks: (0..mode.kept_blocks(layers))
                .map(|_| BlockActs {
                    norm_1: span(n, c),
                    mean_1: span(1, n),
                    rstd_1: span(1, n),
                    qkv: span(n, 3 * c),
                    attn: span(n, c),
                    lse: span(1, n * heads),
                    mid: span(n, c),
                    norm_2: span(n, c),
                    mean_2: span(1, n),
                    rstd_2: span(1, n),
                    gelu: span(n, f),
                    slopes: mode.has_backward().then(|| span(n, f)),
                })
                .collect(),
            outs: (0..mode.kept_outputs(layers)).map(|_| span(n, c)).collect(),
            picked: mode.picks().then(|| span(head_rows, c)),
            norm_f: span(head_rows, c),
            mean_f: span(1, head_rows),
            rstd_f: span(1, head_rows),
            logits: span(mode.logit_rows(head_rows, vocab), vocab),
            losses: span(1, head_rows),
            back: mode.has_backward().then(|| Back {
                dnorm: span(n, c),
                dqkv: span(n, 3 * c),
                dattn: span(n, c),
                dup: span(n, f),
            }),
        };
        (acts, allocator.len())
    }

    fn views<'a, T: Real>(&self, buffer: &'a mut [T], batch: usize, time: usize, mode: Mode) -> Views<'a, T> {
        let (spans, len) = self.plan(batch, time, mode);
        let mut carver = Carver::new(&mut buffer[..len]);
        spans.map(&mut |span| carver.take(span))
    }

    fn weights<'a, T: Real>(&self, params: &'a [T]) -> Params<Weight<'a, T>> {
        self.params.map(&mut |slot| Weight::plain(slot.span.view(params)))
    }

    /// Tokens to what the head reads.
    fn forward<T: Real>(
        &self,
        cx: &mut Context<T>,
        p: &Params<Weight<'_, T>>,
        a: &mut Views<'_, T>,
        tokens: &[u32],
        sequences: &[Sequences],
        mut caches: Option<(&mut [KvCache<T>], Ragged<'_>)>,
    ) {
        let positions = match &caches {
            Some((_, rows)) => Cow::Borrowed(rows.positions),
            None => Cow::Owned(positions(sequences)),
        };
        p.token_embedding.look_up(cx, a.embedded.view_mut(), tokens);
        embedding::forward_add(cx, a.embedded.view_mut(), &positions, p.position_embedding.view);
        let kept = a.blocks.len();
        for (l, block) in p.blocks.iter().enumerate() {
            let (x, out) = input_output(&a.embedded, &mut a.outs, l);
            let attend = match &mut caches {
                Some((caches, rows)) => Attend::Cached {
                    cache: &mut caches[l],
                    segments: rows.segments,
                    positions: rows.positions,
                },
                None => Attend::Rows,
            };
            self.block_forward(cx, block, &mut a.blocks[l % kept], x, out, sequences, attend);
        }
        let last = a.outs[(self.config.layers - 1) % a.outs.len()].view();
        let x = head_input(last, a.picked.as_mut(), caches.map_or(&[], |(_, rows)| rows.wanted));
        let (mean, rstd) = (flat(&mut a.mean_f), flat(&mut a.rstd_f));
        let (w, b) = (p.norm_f_weight.row(), p.norm_f_bias.row());
        layernorm::forward(cx, a.norm_f.view_mut(), mean, rstd, x, w, b, self.config.norm_eps);
    }

    fn block_forward<T: Real>(
        &self,
        cx: &mut Context<T>,
        p: &Block<Weight<'_, T>>,
        a: &mut BlockActs<ArrayViewMut2<'_, T>>,
        x: ArrayView2<'_, T>,
        out: ArrayViewMut2<'_, T>,
        sequences: &[Sequences],
        keys: Attend<'_, T>,
    ) {
        let eps = self.config.norm_eps;
        let (w, b) = (p.norm_1_weight.row(), p.norm_1_bias.row());
        layernorm::forward(cx, a.norm_1.view_mut(), flat(&mut a.mean_1), flat(&mut a.rstd_1), x, w, b, eps);
        p.qkv_weight.linear(cx, a.qkv.view_mut(), a.norm_1.view(), Some(p.qkv_bias.row()));
        attend(cx, a.attn.view_mut(), &mut a.lse, a.qkv.view(), &self.config, sequences, keys);
        let b = Some(p.attn_out_bias.row());
        p.attn_out_weight.linear_onto(cx, a.mid.view_mut(), x, a.attn.view(), b);
        let (w, b) = (p.norm_2_weight.row(), p.norm_2_bias.row());
        let (mean, rstd) = (flat(&mut a.mean_2), flat(&mut a.rstd_2));
        layernorm::forward(cx, a.norm_2.view_mut(), mean, rstd, a.mid.view(), w, b, eps);
        let (slopes, b) = (a.slopes.as_mut().map(|slopes| slopes.view_mut()), p.mlp_up_bias.row());
        p.mlp_up_weight.linear_gelu(cx, a.gelu.view_mut(), slopes, a.norm_2.view(), b, self.form);
        let b = Some(p.mlp_down_bias.row());
        p.mlp_down_weight.linear_onto(cx, out, a.mid.view(), a.gelu.view(), b);
    }

    /// Reads upwards: each line mirrors one of the forward. `dres` is the gradient of the residual stream,
    /// of the block's output before and of its input after.
    fn block_backward<T: Real>(
        &self,
        cx: &mut Context<T>,
        p: &Block<Weight<'_, T>>,
        (d, fold): (&mut Block<Gradient<'_, T>>, Fold),
        a: &BlockActs<ArrayViewMut2<'_, T>>,
        back: &mut Back<ArrayViewMut2<'_, T>>,
        x: ArrayView2<'_, T>,
        dres: &mut ArrayViewMut2<'_, T>,
        sequences: &[Sequences],
    ) {
        let Back { dnorm, dqkv, dattn, dup } = back;
        let (dw, db) = ((&mut d.mlp_down_weight, fold), Some(&mut d.mlp_down_bias));
        let (w, slopes) = (&p.mlp_down_weight, a.slopes.as_ref().expect("a mode with a backward"));
        linear_gelu_backward(cx, dup.view_mut(), dw, db, dres.view(), a.gelu.view(), w, slopes.view());
        let (dw, db) = ((&mut d.mlp_up_weight, fold), Some(&mut d.mlp_up_bias));
        linear_backward(cx, dnorm.view_mut(), dw, db, dup.view(), a.norm_2.view(), &p.mlp_up_weight);
        let (dw, db) = (d.norm_2_weight.row(), d.norm_2_bias.row());
        let (mean, rstd) = (read(&a.mean_2), read(&a.rstd_2));
        let w = p.norm_2_weight.row();
        layernorm::backward(cx, dres.view_mut(), dw, db, dnorm.view(), a.mid.view(), w, mean, rstd);
        let (dw, db) = ((&mut d.attn_out_weight, fold), Some(&mut d.attn_out_bias));
        linear_backward(cx, dattn.view_mut(), dw, db, dres.view(), a.attn.view(), &p.attn_out_weight);
        let (out, lse, qkv) = (a.attn.view(), read(&a.lse), a.qkv.view());
        attend_backward(cx, dqkv, dattn.view(), out, lse, qkv, &self.config, sequences);
        let (dw, db) = ((&mut d.qkv_weight, fold), Some(&mut d.qkv_bias));
        linear_backward(cx, dnorm.view_mut(), dw, db, dqkv.view(), a.norm_1.view(), &p.qkv_weight);
        let (dw, db) = (d.norm_1_weight.row(), d.norm_1_bias.row());
        let (mean, rstd) = (read(&a.mean_1), read(&a.rstd_1));
        let w = p.norm_1_weight.row();
        layernorm::backward(cx, dres.view_mut(), dw, db, dnorm.view(), x, w, mean, rstd);
    }

    /// Adds the losses of `rows` to `sum`.
    fn losses<T: Real>(
        &self,
        cx: &mut Context<T>,
        p: &Params<Weight<'_, T>>,
        acts: &mut [T],
        rows: Rows<'_>,
        sum: &mut LossSum,
    ) {
        let mut a = self.views(acts, rows.batch(), rows.time, Mode::Evaluate);
        self.forward(cx, p, &mut a, rows.tokens, &Sequences::of(&rows), None);
        head_losses(cx, &mut a.logits, &mut a.losses, a.norm_f.view(), p.head(), rows.targets, sum);
    }

    /// Forward and backward: adds the losses of `rows` to `sum`, and their gradients to `d`.
    fn gradient<T: Real>(
        &self,
        cx: &mut Context<T>,
        p: &Params<Weight<'_, T>>,
        (d, fold): (&mut Params<Gradient<'_, T>>, Fold),
        acts: &mut [T],
        mode: Mode,
        rows: Rows<'_>,
        mut dinput: ArrayViewMut2<'_, T>,
        sum: &mut LossSum,
    ) {
        let sequences = &Sequences::of(&rows);
        let mut a = self.views(acts, rows.batch(), rows.time, mode);
        let mut back = a.back.take().expect("a mode with a backward");

        self.forward(cx, p, &mut a, rows.tokens, sequences, None);
        let (dnorm, dhead) = (back.dnorm.view_mut(), (d.head_mut(), fold));
        let (logits, losses, normed) = (&mut a.logits, &mut a.losses, a.norm_f.view());
        head_losses_and_gradient(cx, logits, losses, normed, p.head(), rows.targets, dnorm, dhead, sum);

        // From here on `dinput` holds the gradient of the residual stream.
        dinput.fill(T::ZERO);
        let (dw, db) = (d.norm_f_weight.row(), d.norm_f_bias.row());
        let last = a.outs[self.config.layers - 1].view();
        let (mean, rstd) = (read(&a.mean_f), read(&a.rstd_f));
        let w = p.norm_f_weight.row();
        layernorm::backward(cx, dinput.view_mut(), dw, db, back.dnorm.view(), last, w, mean, rstd);
        let kept = a.blocks.len();
        for l in (0..self.config.layers).rev() {
            let (x, out) = input_output(&a.embedded, &mut a.outs, l);
            let acts = &mut a.blocks[l % kept];
            if mode == Mode::Recompute {
                self.block_forward(cx, &p.blocks[l], acts, x, out, sequences, Attend::Rows);
            }
            let d = (&mut d.blocks[l], fold);
            self.block_backward(cx, &p.blocks[l], d, acts, &mut back, x, &mut dinput, sequences);
        }
    }
}

impl<T: Real> Architecture<T> for Gpt2 {
    fn config(&self) -> &Config {
        &self.config
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn activations(&self, batch: usize, time: usize, mode: Mode) -> usize {
        self.plan(batch, time, mode).1
    }

    fn loss(&self, cx: &mut Context<T>, params: &[T], acts: &mut [T], rows: Rows<'_>, sum: &mut LossSum) {
        self.losses(cx, &self.weights(params), acts, rows, sum);
    }

    fn loss_and_gradient(
        &self,
        cx: &mut Context<T>,
        params: &[T],
        grads: &mut [T],
        fold: Fold,
        acts: &mut [T],
        mode: Mode,
        rows: Rows<'_>,
        dinput: ArrayViewMut2<'_, T>,
        sum: &mut LossSum,
    ) {
        if fold == Fold::First {
            clear_additions(&self.layout, grads, self.config.tied);
        }
        let mut carver = Carver::new(grads);
        let mut d = self.params.map(&mut |slot| Gradient::of(carver.take(&slot.span)));
        self.gradient(cx, &self.weights(params), (&mut d, fold), acts, mode, rows, dinput, sum);
    }

    fn embedding_gradient(
        &self,
        cx: &mut Context<T>,
        grads: &mut [T],
        dinput: ArrayView2<'_, T>,
        rows: Rows<'_>,
    ) {
        let mut carver = Carver::new(grads);
        let dtokens = carver.take(&self.params.token_embedding.span);
        let dpositions = carver.take(&self.params.position_embedding.span);
        embedding::backward(cx, dtokens, dinput, rows.tokens);
        embedding::backward(cx, dpositions, dinput, &positions(&Sequences::of(&rows)));
    }

    fn generate(
        &self,
        cx: &mut Context<T>,
        weights: &Weights<'_, T>,
        acts: &mut [T],
        caches: &mut [KvCache<T>],
        rows: Ragged<'_>,
        logits: &mut [T],
    ) {
        let weights = self.params.map(&mut weights.read());
        let (n, mode) = (rows.tokens.len(), Mode::Generate { logits: rows.wanted.len() });
        let mut a = self.views(acts, 1, n, mode);
        self.forward(cx, &weights, &mut a, rows.tokens, &[], Some((caches, rows)));
        head_logits(cx, logits, a.norm_f.view(), weights.head(), self.config.vocab);
    }

    fn hidden_states<'a>(
        &self,
        cx: &mut Context<T>,
        weights: &Weights<'_, T>,
        acts: &'a mut [T],
        tokens: &[u32],
    ) -> Vec<ArrayView2<'a, T>> {
        let weights = self.params.map(&mut weights.read());
        let (n, mode) = (tokens.len(), Mode::HiddenStates);
        let mut a = self.views(acts, 1, n, mode);
        self.forward(cx, &weights, &mut a, tokens, &[Sequences { rows: 0..n, time: n }], None);
        let (spans, _) = self.plan(1, n, mode);
        let states = iter::once(&spans.embedded).chain(&spans.outs).chain([&spans.norm_f]);
        states.map(|span| span.view(acts)).collect()
    }
}

impl<T: Real> Tunable<T> for Gpt2 {
    fn adapted_loss(
        &self,
        cx: &mut Context<T>,
        adapted: Adapted<'_, T>,
        acts: &mut [T],
        rows: Rows<'_>,
        sum: &mut LossSum,
    ) {
        self.losses(cx, &self.params.map(&mut adapted.weights(None)), acts, rows, sum);
    }

    fn adapted_loss_and_gradient(
        &self,
        cx: &mut Context<T>,
        adapted: Adapted<'_, T>,
        grads: &mut [T],
        fold: Fold,
        acts: &mut [T],
        mode: Mode,
        rows: Rows<'_>,
        dinput: ArrayViewMut2<'_, T>,
        sum: &mut LossSum,
    ) {
        let (_, len) = self.plan(rows.batch(), rows.time, mode);
        let (acts, vectors) = acts.split_at_mut(len);
        let p = self.params.map(&mut adapted.weights(Some(&rows)));
        let mut d = self.params.map(&mut adapted.gradients(grads, vectors));
        self.gradient(cx, &p, (&mut d, fold), acts, mode, rows, dinput, sum);
    }
}

/// Where the weights of a validated configuration lie.
pub(crate) fn layout(config: &Config) -> Layout {
    lay_out(config).1
}

fn lay_out(config: &Config) -> (Params<Slot>, Layout) {
    let mut allocator = Allocator::default();
    let params = listing(config, &mut allocator);
    let mut slots = Vec::new();
    params.map(&mut |slot| slots.push(slot.clone()));
    (params, Layout::new(slots, allocator.len()))
}

/// Names, shapes and starts of all weights.
fn listing(config: &Config, list: &mut Allocator) -> Params<Slot> {
    let Config { channels: c, hidden: f, vocab, context, layers, .. } = *config;
    // What is added to the residual stream starts smaller, by the number of additions.
    let narrow = DEVIATION / (2.0 * layers as f64).sqrt();
    Params {
        token_embedding: list.matrix("token_embedding", vocab, c, DEVIATION),
        position_embedding: list.matrix("position_embedding", context, c, DEVIATION),
        blocks: (0..layers)
            .map(|l| {
                let name = |field: &str| format!("block.{l}.{field}");
                Block {
                    qkv_weight: list.matrix(name("qkv.weight"), 3 * c, c, DEVIATION),
                    attn_out_weight: list.matrix(name("attn_out.weight"), c, c, narrow),
                    mlp_up_weight: list.matrix(name("mlp_up.weight"), f, c, DEVIATION),
                    mlp_down_weight: list.matrix(name("mlp_down.weight"), c, f, narrow),
                    norm_1_weight: list.vector(name("norm_1.weight"), c, Init::Ones),
                    norm_1_bias: list.vector(name("norm_1.bias"), c, Init::Zeros),
                    qkv_bias: list.vector(name("qkv.bias"), 3 * c, Init::Zeros),
                    attn_out_bias: list.vector(name("attn_out.bias"), c, Init::Zeros),
                    norm_2_weight: list.vector(name("norm_2.weight"), c, Init::Ones),
                    norm_2_bias: list.vector(name("norm_2.bias"), c, Init::Zeros),
                    mlp_up_bias: list.vector(name("mlp_up.bias"), f, Init::Zeros),
                    mlp_down_bias: list.vector(name("mlp_down.bias"), c, Init::Zeros),
                }
            })
            .collect(),
        norm_f_weight: list.vector("norm_f.weight", c, Init::Ones),
        norm_f_bias: list.vector("norm_f.bias", c, Init::Zeros),
        head: (!config.tied).then(|| list.matrix("head.weight", vocab, c, DEVIATION)),
    }
}
