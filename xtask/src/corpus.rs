//! The default corpus: the folders of the workspace's locked dependencies, as cargo keeps them on this machine.

use crate::cargo;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Writes the list of packages into the target folder and returns its path.
pub(crate) fn write_list() -> Result<PathBuf> {
    let host = cargo::host()?;
    let metadata = cargo::metadata(&["--locked", "--filter-platform", &host]).context(
        "cannot list the packages of Cargo.lock; without a network, `cargo fetch` must have run once",
    )?;
    let target = metadata["target_directory"].as_str().context("cargo metadata names no target folder")?;
    let folder = Path::new(target).join("selvedge");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let path = folder.join("packages.tsv");
    // Beside and renamed, so that a training run that reads the list meanwhile sees all of the old one.
    let partial = folder.join(format!("packages.tsv.{}", std::process::id()));
    fs::write(&partial, list(&metadata)?).with_context(|| format!("cannot write {}", partial.display()))?;
    fs::rename(&partial, &path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// `name<TAB>folder` of every package that the resolved graph holds and the workspace does not, sorted.
fn list(metadata: &Value) -> Result<String> {
    let members: HashSet<&str> = strings(&metadata["workspace_members"]).collect();
    let nodes = metadata["resolve"]["nodes"].as_array().context("cargo metadata resolves nothing")?;
    let used: HashSet<&str> = nodes.iter().filter_map(|node| node["id"].as_str()).collect();
    let mut lines = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let field = |name: &str| package[name].as_str().with_context(|| format!("a package has no {name}"));
        let id = field("id")?;
        if members.contains(id) || !used.contains(id) {
            continue;
        }
        let folder = Path::new(field("manifest_path")?).parent().and_then(Path::to_str).unwrap_or_default();
        if folder.contains(['\t', '\n']) {
            bail!(
                "the folder {folder:?} has a tab or a line break in its name; move cargo's folder elsewhere"
            );
        }
        // Without the version: two versions of a package are one group, or near-copies of the training text would
        // be held out.
        lines.push(format!("{}\t{folder}\n", field("name")?));
    }
    lines.sort_unstable();
    Ok(lines.concat())
}

fn strings(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn package(id: &str, name: &str, folder: &str) -> Value {
        json!({"id": id, "name": name, "version": "1.0.0", "manifest_path": format!("{folder}/Cargo.toml")})
    }

    #[test]
    fn the_list_holds_used_outside_packages_sorted() {
        let metadata = json!({
            "workspace_members": ["own"],
            "resolve": {"nodes": [{"id": "own"}, {"id": "zz"}, {"id": "aa"}]},
            "packages": [
                package("zz", "zebra", "/reg/zebra"), package("own", "selvedge", "/here"),
                package("aa", "ant", "/reg/ant"), package("other", "for-another-platform", "/reg/other"),
            ],
        });
        assert_eq!(list(&metadata).unwrap(), "ant\t/reg/ant\nzebra\t/reg/zebra\n");
    }

    #[test]
    fn a_folder_that_would_break_a_line_is_refused() {
        let metadata = json!({
            "workspace_members": [],
            "resolve": {"nodes": [{"id": "a"}]},
            "packages": [package("a", "ant", "/reg\twith tab/ant")],
        });
        assert!(list(&metadata).unwrap_err().to_string().contains("tab"));
    }
}
