//! A published model against transformers, layer by layer and in what it writes: SmolLM2-135M-Instruct in Q4_1, computed in f32 with
//! the numbers its weights stand for. `goldens/make_smollm2.py` says how the goldens were made.
//!
//! The model is where `selvedge model get smollm2` has put it; without it the tests say SKIPPED.

use std::env;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use ndarray::{Axis, s};
use safetensors::SafeTensors;
use selvedge_model::gguf::Model;
use selvedge_model::{Architecture, Generator, Storage, Weights, build, hidden_states};
use selvedge_sync::Team;
use selvedge_tensor::{Context, Isa};

use super::hidden::logits;

const FILE: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
/// Most that hidden states and logits may be off, relative to the largest magnitude at the position. Measured: at worst 1.9e-6 and
/// 9.3e-6, which is f32's rounding: the goldens are computed in f64. transformers in f32 is off by 6.8e-7 and 4.6e-6.
const STATES: f32 = 4e-6;
const LOGITS: f32 = 2e-5;
/// A token that is written may be another where the golden's best two logits are nearer than this. No two are: the least gap is 0.004.
const NEAR_TIE: f64 = 1e-4;

#[derive(Debug, serde::Deserialize)]
struct Prompt {
    name: String,
    tokens: Vec<u32>,
    greedy: Vec<u32>,
    gaps: Vec<f64>,
    largest: f32,
    transformers: Vec<f32>,
}

struct Golden {
    prompts: Vec<Prompt>,
    arrays: Vec<u8>,
}

impl Golden {
    fn read() -> Golden {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens");
        let prompts = serde_json::from_slice(&fs::read(folder.join("smollm2.json")).unwrap()).unwrap();
        Golden { prompts, arrays: fs::read(folder.join("smollm2.safetensors")).unwrap() }
    }

    fn words<T>(&self, prompt: &Prompt, name: &str, of: fn([u8; 4]) -> T) -> Vec<T> {
        let file = SafeTensors::deserialize(&self.arrays).unwrap();
        let tensor = file.tensor(&format!("{}.{name}", prompt.name)).unwrap();
        tensor.data().as_chunks::<4>().0.iter().copied().map(of).collect()
    }

    fn f32s(&self, prompt: &Prompt, name: &str) -> Vec<f32> {
        self.words(prompt, name, f32::from_le_bytes)
    }
}

/// The file, if it was fetched.
fn fetched(test: &str) -> Option<PathBuf> {
    let folder = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")));
    let models = folder("SELVEDGE_MODELS").or_else(|| Some(cache?.join("selvedge/models")));
    let path = models.map(|models| models.join(FILE)).filter(|path| path.is_file());
    if path.is_none() {
        say(&format!("SKIPPED {test}: `cargo xtask model smollm2` has not fetched the model"));
    }
    path
}

/// Past the harness, which shows nothing of a test that passes.
fn say(line: &str) {
    std::io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// The model, with room for the longest prompt and what follows, and its weights as numbers.
fn open(path: &Path) -> (Box<dyn Architecture<f32>>, Vec<f32>) {
    let file = Model::open(path).unwrap().with_context(512);
    (build::<f32>(file.config().clone()).unwrap(), file.load().unwrap())
}

fn pack<'a>(cx: &mut Context, model: &dyn Architecture<f32>, params: &'a [f32]) -> Weights<'a, f32> {
    Weights::pack(cx, model.config(), model.layout(), params, Storage::Packed)
}

fn threads(count: usize) -> Context {
    Context::new(Team::new(count).unwrap(), Isa::detect())
}

/// Largest difference, relative to the largest magnitude wanted.
fn difference<'a>(got: impl IntoIterator<Item = &'a f32>, want: &[f32], largest: f32) -> f32 {
    let pairs: Vec<_> = got.into_iter().zip(want).collect();
    assert_eq!(pairs.len(), want.len());
    pairs.into_iter().fold(0.0f32, |most, (got, want)| most.max((got - want).abs())) / largest
}

fn likeliest(logits: &[f32]) -> u32 {
    let best = (0..logits.len()).fold(0, |best, id| if logits[id] > logits[best] { id } else { best });
    u32::try_from(best).unwrap()
}

#[test]
fn hidden_states_and_logits_agree_with_transformers() {
    let Some(path) = fetched("hidden_states_and_logits_agree_with_transformers") else { return };
    let golden = Golden::read();
    let (model, params) = open(&path);
    let cx = &mut threads(2);
    let weights = pack(cx, &*model, &params);
    let (layers, channels) = (model.config().layers, model.config().channels);
    let mut columns = Vec::new();
    for prompt in &golden.prompts {
        let last = prompt.tokens.len() - 1;
        let states = hidden_states(cx, &*model, &weights, &prompt.tokens).unwrap();
        let want = golden.f32s(prompt, "hidden");
        let mut column: Vec<f32> = Vec::new();
        for (got, want) in states.axis_iter(Axis(0)).zip(want.chunks_exact(channels)) {
            let largest = want.iter().fold(0.0f32, |most, x| most.max(x.abs()));
            column.push(difference(got.row(last), want, largest));
        }
        assert_eq!(column.len(), layers + 2);
        // Of the last position, some logits; of each, the largest and whose it is.
        let logits = logits(cx, &*model, &params, states.index_axis(Axis(0), layers + 1));
        let want = golden.f32s(prompt, "logits");
        column.push(difference(logits.slice(s![last, ..;96]), &want, prompt.largest));
        let (top, whose) =
            (golden.f32s(prompt, "top"), golden.words(prompt, "likeliest", u32::from_le_bytes));
        for (at, (row, (&want, &id))) in logits.rows().into_iter().zip(top.iter().zip(&whose)).enumerate() {
            let off = difference([&row[id as usize]], &[want], want);
            assert!(off < LOGITS, "{}: the largest logit of position {at} is off by {off}", prompt.name);
        }
        let got: Vec<u32> = logits.rows().into_iter().map(|row| likeliest(row.as_slice().unwrap())).collect();
        assert_eq!(got, whose, "{}: the likeliest tokens", prompt.name);
        columns.push(column);
    }
    let mut table = format!("{:<10}", "off by");
    golden.prompts.iter().for_each(|prompt| table += &format!(" {:>17}", prompt.name));
    for row in 0..layers + 3 {
        let name = match row {
            0 => "embedding".to_owned(),
            _ if row <= layers => format!("layer {row}"),
            _ if row == layers + 1 => "norm".to_owned(),
            _ => "logits".to_owned(),
        };
        table += &format!("\n{name:<10}");
        for (prompt, column) in golden.prompts.iter().zip(&columns) {
            table += &format!(" {:>8.1e} {:>8.1e}", column[row], prompt.transformers[row]);
        }
    }
    say(&format!("{table}\n(each: Selvedge, transformers in f32)"));
    for (prompt, column) in golden.prompts.iter().zip(&columns) {
        for (row, off) in column.iter().enumerate() {
            let bound = if row <= layers + 1 { STATES } else { LOGITS };
            assert!(*off < bound, "{}, row {row}: off by {off}", prompt.name);
        }
    }
}

/// Whether the tokens written are the golden's, but for a near-tie, which is said.
fn compare(prompt: &Prompt, how: &str, written: &[u32]) {
    assert_eq!((written.len(), prompt.gaps.len()), (prompt.greedy.len(), prompt.greedy.len()));
    let differs = written.iter().zip(&prompt.greedy).position(|(got, want)| got != want);
    let Some(at) = differs else { return };
    let (gap, name) = (prompt.gaps[at], &prompt.name);
    assert!(gap < NEAR_TIE, "{name}, {how}: token {at} is another, with a gap of {gap} between the best two");
    say(&format!("{name}, {how}: token {at} is another, in a near-tie of {gap}"));
}

/// The likeliest tokens that follow, after a prompt in parts of so many tokens.
fn greedy(cx: &mut Context, generator: &mut Generator<'_>, prompt: &Prompt, part: usize) -> Vec<u32> {
    generator.clear();
    prompt.tokens.chunks(part).for_each(|part| {
        generator.feed(cx, part).unwrap();
    });
    let mut written = Vec::new();
    while written.len() < prompt.greedy.len() {
        written.push(likeliest(generator.logits()));
        generator.feed(cx, &written[written.len() - 1..]).unwrap();
    }
    written
}

#[test]
fn greedy_continuations_are_those_of_transformers() {
    let Some(path) = fetched("greedy_continuations_are_those_of_transformers") else { return };
    let golden = Golden::read();
    let (model, params) = open(&path);
    let mut contexts: Vec<Context> = (1..=4).map(threads).collect();
    let weights = pack(&mut contexts[1], &*model, &params);
    let find = |name: &str| golden.prompts.iter().find(|prompt| prompt.name == name).unwrap();
    let cx = &mut contexts[1];
    // Without a cache: if each of the golden's tokens is the likeliest after those before, they are what would be written.
    for prompt in &golden.prompts {
        let sequence = [&prompt.tokens[..], &prompt.greedy[..prompt.greedy.len() - 1]].concat();
        let states = hidden_states(cx, &*model, &weights, &sequence).unwrap();
        let logits = logits(cx, &*model, &params, states.slice(s![-1, prompt.tokens.len() - 1.., ..]));
        let written: Vec<u32> =
            logits.rows().into_iter().map(|row| likeliest(row.as_slice().unwrap())).collect();
        compare(prompt, "without a cache", &written);
    }
    let mut generator = Generator::with_weights(cx, &*model, weights);
    for prompt in &golden.prompts {
        let written = greedy(cx, &mut generator, prompt, prompt.tokens.len());
        compare(prompt, "at once, 2 threads", &written);
    }
    for ((cx, count), part) in contexts.iter_mut().zip(1..).zip([1, 5, 16, 64]) {
        let prompt = find("emoji");
        let written = greedy(cx, &mut generator, prompt, part);
        compare(prompt, &format!("{part} tokens at a time, {count} threads"), &written);
    }
    let prompt = find("long");
    let written = greedy(&mut contexts[0], &mut generator, prompt, 33);
    compare(prompt, "33 tokens at a time, 1 thread", &written);
}
