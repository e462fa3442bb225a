//! `selvedge convert`: models from one kind of files to another, one weight in memory at a time.

mod output;
mod source;
mod vocabulary;

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use selvedge_model::gguf::{Export, Type, retype};
use selvedge_model::{Slot, hf, layout};
use selvedge_sync::CancelToken;

use crate::INTERRUPTED;
use crate::args::{ConvertArgs, FormatArg};
use crate::convert::output::Output;
use crate::convert::source::Source;
use crate::progress::Stage;
use crate::published::locate;
use crate::say::result;

pub(crate) fn run(args: &ConvertArgs, cancel: &CancelToken) -> anyhow::Result<ExitCode> {
    let gguf = args.to.map_or_else(|| is_gguf(&args.out), |format| format == FormatArg::Gguf);
    let source = Source::open(&locate(&args.model)?)?;
    let output = Output::begin(&args.out, !gguf, args.force)?;
    let done = if gguf {
        to_gguf(args, &source, &output, cancel)
    } else {
        to_folder(args, &source, &output, cancel)
    };
    match done {
        Err(error) if error.is::<Interrupted>() => return Ok(ExitCode::from(INTERRUPTED)),
        other => other?,
    }
    output.commit()?;
    result!("{}", args.out.display())?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn is_gguf(path: &Path) -> bool {
    path.extension() == Some("gguf".as_ref())
}

/// Ctrl-C: the output is given up.
#[derive(Debug)]
struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

fn not_cancelled(cancel: &CancelToken) -> anyhow::Result<()> {
    if cancel.is_cancelled() { Err(Interrupted.into()) } else { Ok(()) }
}

fn to_gguf(args: &ConvertArgs, source: &Source, output: &Output, cancel: &CancelToken) -> anyhow::Result<()> {
    let out = || {
        let file = File::create(output.path());
        Ok::<_, anyhow::Error>(BufWriter::new(file.with_context(|| output.cannot_write())?))
    };
    let finish = |out: BufWriter<File>| -> anyhow::Result<()> {
        let file =
            out.into_inner().map_err(|error| error.into_error()).with_context(|| output.cannot_write())?;
        file.sync_all().with_context(|| output.cannot_write())
    };
    if let Source::Gguf(model) = source {
        let file = model.file();
        let Some(element_type) = args.element_type else {
            bail!(
                "{} is a GGUF file already; say with --type what to write its weights in",
                file.path().display()
            );
        };
        let bytes = file.tensors().map(|tensor| tensor.bytes().map(<[u8]>::len)).sum::<Result<usize, _>>()?;
        let stage = Stage::bytes("converting", bytes as u64);
        let next = |bytes: usize| {
            stage.advance(bytes as u64);
            not_cancelled(cancel)
        };
        let written = retype(file, element_type.gguf(), out()?, next)?;
        stage.finish(&format!("converted {} tensors to {}", file.tensors().len(), element_type.gguf()));
        return finish(written);
    }
    let element_type = args.element_type.map_or_else(|| gguf_type(source.dtype()), |given| given.gguf());
    let config = source.config();
    let export = Export::new(config, element_type, vocabulary::keys(source)?)?;
    let stage = stage(source)?;
    let written = export.write(out()?, reader(source, &stage, cancel))?;
    stage.finish(&format!("converted {} weights to {element_type}", layout(config)?.parameters()));
    finish(written)
}

fn gguf_type(dtype: hf::Dtype) -> Type {
    match dtype {
        hf::Dtype::F32 => Type::F32,
        hf::Dtype::F16 => Type::F16,
        hf::Dtype::BF16 => Type::BF16,
    }
}

fn to_folder(
    args: &ConvertArgs,
    source: &Source,
    output: &Output,
    cancel: &CancelToken,
) -> anyhow::Result<()> {
    let dtype = match args.element_type {
        None => source.dtype(),
        Some(given) => given.hugging_face().with_context(|| {
            format!("Hugging Face folders have f32, f16 or bf16; {} is for GGUF files", given.gguf())
        })?,
    };
    let config = source.config();
    // Before the weights: what has no such tokenizer fails at once.
    let (tokenizer, generation) = vocabulary::files(source)?;
    let stage = stage(source)?;
    hf::save_from(output.path(), config, dtype, &generation, reader(source, &stage, cancel))?;
    for (name, bytes) in tokenizer {
        let path = output.path().join(name);
        std::fs::write(&path, bytes).with_context(|| output.cannot_write())?;
    }
    stage.finish(&format!("converted {} weights to {dtype:?}", layout(config)?.parameters()));
    Ok(())
}

/// Weights are counted in bytes of f32.
fn bytes(elements: usize) -> u64 {
    (elements * size_of::<f32>()) as u64
}

fn stage(source: &Source) -> anyhow::Result<Stage> {
    Ok(Stage::bytes("converting", bytes(layout(source.config())?.parameters())))
}

/// What fills in weights and moves the bar.
fn reader<'a>(
    source: &'a Source,
    stage: &'a Stage,
    cancel: &'a CancelToken,
) -> impl FnMut(&Slot, &mut [f32]) -> anyhow::Result<()> + 'a {
    |slot, to| {
        not_cancelled(cancel)?;
        source.read(slot, to)?;
        stage.advance(bytes(to.len()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use selvedge_model::{Config, initialize};
    use selvedge_tokenizer::Trainer;

    use super::*;

    #[test]
    fn an_interrupted_conversion_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let model = dir.path().join("model");
        let config = Config::llama(300, 16, 1, 1, 8);
        let params = initialize::<f32>(&layout(&config).unwrap(), 1);
        hf::save(&model, &config, &params, hf::Dtype::F32, &hf::Generation::default()).unwrap();
        let trainer = Trainer { vocab_size: 290, ..Trainer::default() };
        let tokenizer = trainer.train(["the cat sat on the mat, the cat sat on the mat"], |_| {}).unwrap();
        std::fs::write(model.join("tokenizer.json"), tokenizer.to_hugging_face().unwrap()).unwrap();
        let cancel = CancelToken::new();
        let args = |out: &str| ConvertArgs {
            model: model.clone(),
            out: dir.path().join(out),
            to: None,
            element_type: None,
            force: false,
        };
        run(&args("a.gguf"), &cancel).unwrap();
        cancel.cancel();
        for out in ["b.gguf", "b"] {
            let code = run(&args(out), &cancel).unwrap();
            assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(INTERRUPTED)));
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "the model and the first file");
    }
}
