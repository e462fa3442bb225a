//! Cargo and rustc as this runner calls them.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The folder of the workspace's manifest.
pub(crate) fn root() -> PathBuf {
    // `cargo run` says where the package lies now; a binary started by hand knows where it was built.
    let own = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&own).parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// The cargo that started this runner, to be run in the workspace's root.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// `cargo metadata` with `args`, as JSON.
pub(crate) fn metadata(args: &[&str]) -> Result<Value> {
    let mut command = cargo();
    command.args(["metadata", "--format-version", "1"]).args(args);
    let output = output(&mut command)?;
    serde_json::from_slice(&output).context("cargo metadata printed something that is not JSON")
}

/// The folder of the workspace's build products.
pub(crate) fn target() -> Result<PathBuf> {
    let metadata = metadata(&["--no-deps"])?;
    metadata["target_directory"].as_str().map(PathBuf::from).context("cargo metadata names no target folder")
}

/// The target triple of this machine's compiler, such as `x86_64-unknown-linux-gnu`.
pub(crate) fn host() -> Result<String> {
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.arg("-vV").current_dir(root());
    let text =
        String::from_utf8(output(&mut rustc)?).context("rustc -vV printed something that is not text")?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc -vV names no host")
}

/// An executable that cargo has built.
pub(crate) struct Built {
    /// The name of its target.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    /// The folder of its package.
    pub(crate) folder: PathBuf,
}

/// Runs a building command of cargo with its messages as JSON and returns the executables it made or found fresh.
/// Progress and warnings go where this process's go.
pub(crate) fn build(command: &mut Command) -> Result<Vec<Built>> {
    command.arg("--message-format=json-render-diagnostics");
    let mut built = Vec::new();
    for line in output(command)?.split(|&byte| byte == b'\n').filter(|line| line.starts_with(b"{")) {
        let message: Value =
            serde_json::from_slice(line).context("cargo printed a message that is not JSON")?;
        if let (Some(path), Some(name)) = (message["executable"].as_str(), message["target"]["name"].as_str())
        {
            let manifest = Path::new(message["manifest_path"].as_str().unwrap_or_default());
            let folder = manifest.parent().unwrap_or(Path::new("")).to_owned();
            built.push(Built { name: name.to_owned(), path: path.into(), folder });
        }
    }
    Ok(built)
}

/// The compiler flags of the environment with `more` after them.
pub(crate) fn flags(variable: &str, more: &str) -> OsString {
    match std::env::var_os(variable) {
        Some(mut flags) if !flags.is_empty() => {
            flags.push(" ");
            flags.push(more);
            flags
        }
        _ => more.into(),
    }
}

/// Runs the command with inherited output and no input.
///
/// # Errors
/// If it cannot start or does not succeed.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status =
        command.stdin(Stdio::null()).status().with_context(|| format!("cannot run {}", shown(command)))?;
    if !status.success() {
        bail!("{} failed: {status}", shown(command));
    }
    Ok(())
}

/// What the command prints on its standard output.
pub(crate) fn output(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("cannot run {}", shown(command)))?;
    if !output.status.success() {
        bail!("{} failed: {}", shown(command), output.status);
    }
    Ok(output.stdout)
}

/// The command as one would type it, without the folder of its program.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut text = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
    for arg in command.get_args() {
        text.push(' ');
        text.push_str(&arg.to_string_lossy());
    }
    text
}
