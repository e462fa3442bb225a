//! Llama (Touvron et al. 2023) and its kin: the listing of weights and activations, forward and backward.
//!
//! Qwen2 adds biases of queries, keys and values; Qwen3 normalizes every head of queries and keys before it is turned.
//!
//! Pre-norm blocks: x + attn_out(attention(rope(qkv(norm_1(x))))), then x + mlp_down(swiglu(gate_up(norm_2(x)))).

use std::iter;

use ndarray::{ArrayView2, ArrayViewMut2, s};
use selvedge_tensor::attention::{self, KvCache};
use selvedge_tensor::rmsnorm::Norm;
use selvedge_tensor::{
    Context, Quantized, Real, embedding, headnorm, linear, quantized, rmsnorm, rope, swiglu,
};

use crate::architecture::{
    Architecture, Attend, Fold, LossSum, Mode, Ragged, Rows, Tunable, attend, attend_backward,
    clear_additions, head_input, head_logits, head_losses, head_losses_and_gradient, input_output,
};
use crate::config::Config;
use crate::held::Weights;
use crate::init::DEVIATION;
use crate::layout::{Allocator, Carver, Init, Layout, Slot, Span, flat, read};
use crate::lora::Adapted;
use crate::rope_scaling::{RopeScaling, frequencies};
use crate::sequences::Sequences;
use crate::weight::{Gradient, Weight, linear_backward};

/// Weights of one block, whatever is held for each.
#[derive(Debug)]
struct Block<W> {
    qkv_weight: W,       // ((H + 2·HKV)·D, C)
    attn_out_weight: W,  // (C, H·D)
    gate_up_weight: W,   // (2F, C)
    mlp_down_weight: W,  // (C, F)
    norm_1_weight: W,    // (1, C)
    norm_2_weight: W,    // (1, C)
    qkv_bias: Option<W>, // (1, (H + 2·HKV)·D)
    qk_norm: Option<QkNorm<W>>,
}

/// What is held for the norms of heads.
#[derive(Debug)]
struct QkNorm<W> {
    q: W, // (1, D)
    k: W, // (1, D)
}

impl<W> Block<W> {
    /// The only list of the fields, in memory order: those that decay first.
    fn map<'a, U>(&'a self, f: &mut impl FnMut(&'a W) -> U) -> Block<U> {
        Block {
            qkv_weight: f(&self.qkv_weight),
            attn_out_weight: f(&self.attn_out_weight),
            gate_up_weight: f(&self.gate_up_weight),
            mlp_down_weight: f(&self.mlp_down_weight),
            norm_1_weight: f(&self.norm_1_weight),
            norm_2_weight: f(&self.norm_2_weight),
            qkv_bias: self.qkv_bias.as_ref().map(&mut *f),
            qk_norm: self.qk_norm.as_ref().map(|norm| QkNorm { q: f(&norm.q), k: f(&norm.k) }),
        }
    }
}

/// All weights.
#[derive(Debug)]
struct Params<W> {
    token_embedding: W, // (V, C)
    blocks: Vec<Block<W>>,
    norm_f_weight: W, // (1, C)
    head: Option<W>,  // (V, C) when untied
}

impl<W> Params<W> {
    fn map<'a, U>(&'a self, f: &mut impl FnMut(&'a W) -> U) -> Params<U> {
        Params {
            token_embedding: f(&self.token_embedding),
            blocks: self.blocks.iter().map(|block| block.map(f)).collect(),
            norm_f_weight: f(&self.norm_f_weight),
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
    norm_1: A, // (N, C)
    rstd_1: A, // (1, N)
    qkv: A,    // (N, (H + 2·HKV)·D), queries and keys turned
    raw: Option<Raw<A>>,
    attn: A,    // (N, H·D)
    lse: A,     // (1, B·H·T)
    mid: A,     // (N, C), the residual stream after attention
    norm_2: A,  // (N, C)
    rstd_2: A,  // (1, N)
    gate_up: A, // (N, 2F)
    swiglu: A,  // (N, F)
}

/// Queries and keys before the norms of heads, and the scales those found.
#[derive(Debug)]
struct Raw<A> {
    q: A,      // (N, H·D)
    k: A,      // (N, HKV·D)
    rstd_q: A, // (1, N·H)
    rstd_k: A, // (1, N·HKV)
}

impl<A> BlockActs<A> {
    fn map<U>(&self, f: &mut impl FnMut(&A) -> U) -> BlockActs<U> {
        BlockActs {
            norm_1: f(&self.norm_1),
            rstd_1: f(&self.rstd_1),
            qkv: f(&self.qkv),
            raw: self.raw.as_ref().map(|raw| Raw {
                q: f(&raw.q),
                k: f(&raw.k),
                rstd_q: f(&raw.rstd_q),
                rstd_k: f(&raw.rstd_k),
            }),
            attn: f(&self.attn),
            lse: f(&self.lse),
            mid: f(&self.mid),
            norm_2: f(&self.norm_2),
            rstd_2: f(&self.rstd_2),
            gate_up: f(&self.gate_up),
            swiglu: f(&self.swiglu),
        }
    }
}

/// Gradients of activations, one set for all blocks.
#[derive(Debug)]
struct Back<A> {
    dnorm: A,    // (N, C)
    dqkv: A,     // (N, (H + 2·HKV)·D)
    dattn: A,    // (N, H·D)
    dswiglu: A,  // (N, F)
    dgate_up: A, // (N, 2F)
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
            rstd_f: f(&self.rstd_f),
            logits: f(&self.logits),
            losses: f(&self.losses),
            back: self.back.as_ref().map(|back| Back {
                dnorm: f(&back.dnorm),
                dqkv: f(&back.dqkv),
                dattn: f(&back.dattn),
                dswiglu: f(&back.dswiglu),
                dgate_up: f(&back.dgate_up),
            }),
        }
    }
}

type Views<'a, T> = Acts<ArrayViewMut2<'a, T>>;

/// The Llama wiring for one configuration.
#[derive(Debug)]
pub(crate) struct Llama<T> {
    config: Config,
    params: Params<Slot>,
    layout: Layout,
    table: rope::Table<T>,
}

impl<T: Real> Llama<T> {
    /// The wiring of a validated configuration.
    pub(crate) fn new(config: Config) -> Self {
        let (params, layout) = lay_out(&config);
        let scaling = config.rope_scaling.as_ref();
        let frequencies = frequencies(config.head_size(), config.rope_theta, scaling);
        let amplitude = scaling.map_or(1.0, RopeScaling::amplitude);
        let table = rope::Table::with_frequencies(config.context, &frequencies, amplitude);
        Llama { layout, config, params, table }
    }

    fn plan(&self, batch: usize, time: usize, mode: Mode) -> (Acts<Span>, usize) {
        let Config { channels: c, hidden: f, heads, kv_heads, vocab, layers, .. } = self.config;
        let n = batch * time;
        let shape = self.config.attention(batch, time);
        let (qkv, q, k) = (shape.qkv_cols(), shape.query_cols(), shape.kv_cols());
        let mut allocator = Allocator::default();
        let mut span = |rows, cols| allocator.span(rows, cols);
        let head_rows = mode.head_rows(n);
        let acts = Acts {
            embedded: span(n, c),
            blocks: (0..mode.kept_blocks(layers))
                .map(|_| BlockActs {
                    norm_1: span(n, c),
                    rstd_1: span(1, n),
                    qkv: span(n, qkv),
                    raw: self.config.qk_norm.then(|| Raw {
                        q: span(n, q),
                        k: span(n, k),
                        rstd_q: span(1, n * heads),
                        rstd_k: span(1, n * kv_heads),
                    }),
                    attn: span(n, q),
                    lse: span(1, n * heads),
                    mid: span(n, c),
                    norm_2: span(n, c),
                    rstd_2: span(1, n),
                    gate_up: span(n, 2 * f),
                    swiglu: span(n, f),
                })
                .collect(),
            outs: (0..mode.kept_outputs(layers)).map(|_| span(n, c)).collect(),
            picked: mode.picks().then(|| span(head_rows, c)),
            norm_f: span(head_rows, c),
            rstd_f: span(1, head_rows),
            logits: span(mode.logit_rows(head_rows, vocab), vocab),
            losses: span(1, head_rows),
            back: mode.has_backward().then(|| Back {
                dnorm: span(n, c),
                dqkv: span(n, qkv),
                dattn: span(n, q),
                dswiglu: span(n, f),
                dgate_up: span(n, 2 * f),
            }),
        };
        (acts, allocator.len())
    }

    fn views<'a>(&self, buffer: &'a mut [T], batch: usize, time: usize, mode: Mode) -> Views<'a, T> {
        let (spans, len) = self.plan(batch, time, mode);
        let mut carver = Carver::new(&mut buffer[..len]);
        spans.map(&mut |span| carver.take(span))
    }

    fn weights<'a>(&self, params: &'a [T]) -> Params<Weight<'a, T>> {
        self.params.map(&mut |slot| Weight::plain(slot.span.view(params)))
    }

    /// Tokens to what the head reads.
    fn forward(
        &self,
        cx: &mut Context<T>,
        p: &Params<Weight<'_, T>>,
        a: &mut Views<'_, T>,
        tokens: &[u32],
        sequences: &[Sequences],
        mut caches: Option<(&mut [KvCache<T>], Ragged<'_>)>,
    ) {
        p.token_embedding.look_up(cx, a.embedded.view_mut(), tokens);
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
        let w = p.norm_f_weight.row();
        rmsnorm::forward(cx, a.norm_f.view_mut(), flat(&mut a.rstd_f), x, w, self.config.norm_eps);
    }

    fn block_forward(
        &self,
        cx: &mut Context<T>,
        p: &Block<Weight<'_, T>>,
        a: &mut BlockActs<ArrayViewMut2<'_, T>>,
        x: ArrayView2<'_, T>,
        out: ArrayViewMut2<'_, T>,
        sequences: &[Sequences],
        keys: Attend<'_, T>,
    ) {
        let (eps, shape) = (self.config.norm_eps, &self.config.attention(1, 1));
        let norm = self::norm(&p.norm_1_weight, eps);
        let (b, kept) = (p.qkv_bias.as_ref().map(Weight::row), (a.norm_1.view_mut(), flat(&mut a.rstd_1)));
        p.qkv_weight.linear_normed(cx, a.qkv.view_mut(), x, norm, kept, b);
        if let (Some(norm), Some(raw)) = (&p.qk_norm, &mut a.raw) {
            let (q, k) = queries_and_keys(&mut a.qkv, shape);
            headnorm::forward(cx, q, raw.q.view_mut(), flat(&mut raw.rstd_q), norm.q.row(), eps);
            headnorm::forward(cx, k, raw.k.view_mut(), flat(&mut raw.rstd_k), norm.k.row(), eps);
        }
        let turned = a.qkv.slice_mut(s![.., ..shape.query_cols() + shape.kv_cols()]);
        keys.turn(cx, turned, &self.table, sequences);
        attend(cx, a.attn.view_mut(), &mut a.lse, a.qkv.view(), &self.config, sequences, keys);
        p.attn_out_weight.linear_onto(cx, a.mid.view_mut(), x, a.attn.view(), None);
        let norm = self::norm(&p.norm_2_weight, eps);
        if let Some(weights) = gated(p) {
            return linear::forward_gated(cx, out, a.mid.view(), norm, weights);
        }
        let kept = (a.norm_2.view_mut(), flat(&mut a.rstd_2));
        p.gate_up_weight.linear_normed(cx, a.gate_up.view_mut(), a.mid.view(), norm, kept, None);
        swiglu::forward(cx, a.swiglu.view_mut(), a.gate_up.view());
        p.mlp_down_weight.linear_onto(cx, out, a.mid.view(), a.swiglu.view(), None);
    }

    /// Reads upwards: each line mirrors one of the forward. `dres` is the gradient of the residual stream,
    /// of the block's output before and of its input after.
    fn block_backward(
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
        let Back { dnorm, dqkv, dattn, dswiglu, dgate_up } = back;
        let shape = &self.config.attention(1, 1);
        let dw = (&mut d.mlp_down_weight, fold);
        linear_backward(cx, dswiglu.view_mut(), dw, None, dres.view(), a.swiglu.view(), &p.mlp_down_weight);
        swiglu::backward(cx, dgate_up.view_mut(), dswiglu.view(), a.gate_up.view());
        let dw = (&mut d.gate_up_weight, fold);
        linear_backward(cx, dnorm.view_mut(), dw, None, dgate_up.view(), a.norm_2.view(), &p.gate_up_weight);
        let (dw, w) = (d.norm_2_weight.row(), p.norm_2_weight.row());
        rmsnorm::backward(cx, dres.view_mut(), dw, dnorm.view(), a.mid.view(), w, read(&a.rstd_2));
        let dw = (&mut d.attn_out_weight, fold);
        linear_backward(cx, dattn.view_mut(), dw, None, dres.view(), a.attn.view(), &p.attn_out_weight);
        let (out, lse, qkv) = (a.attn.view(), read(&a.lse), a.qkv.view());
        attend_backward(cx, dqkv, dattn.view(), out, lse, qkv, &self.config, sequences);
        for of in sequences {
            let turned = dqkv.slice_mut(s![of.rows.clone(), ..shape.query_cols() + shape.kv_cols()]);
            rope::backward(cx, turned, &self.table, of.time, 0);
        }
        if let (Some(norm), Some(d), Some(raw)) = (&p.qk_norm, &mut d.qk_norm, &a.raw) {
            let (dq, dk) = queries_and_keys(dqkv, shape);
            headnorm::backward(cx, dk, d.k.row(), raw.k.view(), read(&raw.rstd_k), norm.k.row());
            headnorm::backward(cx, dq, d.q.row(), raw.q.view(), read(&raw.rstd_q), norm.q.row());
        }
        let (dw, db) = ((&mut d.qkv_weight, fold), d.qkv_bias.as_mut());
        linear_backward(cx, dnorm.view_mut(), dw, db, dqkv.view(), a.norm_1.view(), &p.qkv_weight);
        let (dw, w) = (d.norm_1_weight.row(), p.norm_1_weight.row());
        rmsnorm::backward(cx, dres.view_mut(), dw, dnorm.view(), x, w, read(&a.rstd_1));
    }

    /// Adds the losses of `rows` to `sum`.
    fn losses(
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
    fn gradient(
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
        let (dw, w) = (d.norm_f_weight.row(), p.norm_f_weight.row());
        let last = a.outs[self.config.layers - 1].view();
        rmsnorm::backward(cx, dinput.view_mut(), dw, back.dnorm.view(), last, w, read(&a.rstd_f));
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

impl<T: Real> Architecture<T> for Llama<T> {
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
        let dtokens = Carver::new(grads).take(&self.params.token_embedding.span);
        embedding::backward(cx, dtokens, dinput, rows.tokens);
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

impl<T: Real> Tunable<T> for Llama<T> {
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

fn norm<'a, T: Real>(weight: &Weight<'a, T>, epsilon: f64) -> Norm<'a, T> {
    Norm { weight: weight.row().to_slice().expect("a vector is contiguous"), epsilon }
}

/// Weights of a feed-forward layer of which nothing is kept.
fn gated<'a, T: Real>(p: &Block<Weight<'a, T>>) -> Option<[&'a Quantized; 2]> {
    let weights = [p.gate_up_weight.quantized()?, p.mlp_down_weight.quantized()?];
    weights[1].inputs().is_multiple_of(quantized::BLOCK).then_some(weights)
}

/// The columns of queries and those of keys.
fn queries_and_keys<'a, T>(
    qkv: &'a mut ArrayViewMut2<'_, T>,
    shape: &attention::Shape,
) -> (ArrayViewMut2<'a, T>, ArrayViewMut2<'a, T>) {
    let q = shape.query_cols();
    qkv.multi_slice_mut((s![.., ..q], s![.., q..q + shape.kv_cols()]))
}

/// Names, shapes and starts of all weights.
fn listing(config: &Config, list: &mut Allocator) -> Params<Slot> {
    let Config { channels: c, hidden: f, vocab, layers, .. } = *config;
    let shape = config.attention(1, 1);
    let (qkv, q, d) = (shape.qkv_cols(), shape.query_cols(), shape.head_size);
    // What is added to the residual stream starts smaller, by the number of additions.
    let narrow = DEVIATION / (2.0 * layers as f64).sqrt();
    Params {
        token_embedding: list.matrix("token_embedding", vocab, c, DEVIATION),
        blocks: (0..layers)
            .map(|l| {
                let name = |field: &str| format!("block.{l}.{field}");
                Block {
                    qkv_weight: list.matrix(name("qkv.weight"), qkv, c, DEVIATION),
                    attn_out_weight: list.matrix(name("attn_out.weight"), c, q, narrow),
                    gate_up_weight: list.matrix(name("gate_up.weight"), 2 * f, c, DEVIATION),
                    mlp_down_weight: list.matrix(name("mlp_down.weight"), c, f, narrow),
                    norm_1_weight: list.vector(name("norm_1.weight"), c, Init::Ones),
                    norm_2_weight: list.vector(name("norm_2.weight"), c, Init::Ones),
                    qkv_bias: config.qkv_bias.then(|| list.vector(name("qkv.bias"), qkv, Init::Zeros)),
                    qk_norm: config.qk_norm.then(|| QkNorm {
                        q: list.vector(name("q_norm.weight"), d, Init::Ones),
                        k: list.vector(name("k_norm.weight"), d, Init::Ones),
                    }),
                }
            })
            .collect(),
        norm_f_weight: list.vector("norm_f.weight", c, Init::Ones),
        head: (!config.tied).then(|| list.matrix("head.weight", vocab, c, DEVIATION)),
    }
}
