//! Copies russh's source from where cargo keeps it, with `hooks.patch` applied.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const PATCH: &str = "hooks.patch";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={PATCH}");
    let out = PathBuf::from(env::var("OUT_DIR")?).join("src");
    if out.exists() {
        fs::remove_dir_all(&out)?;
    }
    copy(&source()?, &out)?;
    let patch = fs::read_to_string(PATCH)?;
    for file in patch
        .split_inclusive('\n')
        .collect::<Vec<_>>()
        .chunk_by(|_, line| !line.starts_with("--- "))
    {
        apply(&file.concat(), &out)?;
    }
    Ok(())
}

/// The folder `src` of the package that the dependency `original` stands for.
fn source() -> Result<PathBuf, Box<dyn Error>> {
    let metadata = Command::new(env::var("CARGO")?)
        .args(["metadata", "--format-version=1", "--locked"])
        .args(["--filter-platform", &env::var("TARGET")?])
        .output()?;
    if !metadata.status.success() {
        return Err(String::from_utf8_lossy(&metadata.stderr).into());
    }
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout)?;
    let packages = metadata["packages"].as_array().ok_or("no packages")?;
    let manifest = packages
        .iter()
        .find(|package| package["name"] == "russh")
        .and_then(|package| package["manifest_path"].as_str())
        .ok_or("russh is not among the packages")?;
    let folder = Path::new(manifest).parent().ok_or("russh has no folder")?;
    Ok(folder.join("src"))
}

fn copy(from: &Path, to: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::write(&target, fs::read(entry.path())?)?;
        }
    }
    Ok(())
}

/// Applies the part of the patch that is about one file.
fn apply(part: &str, out: &Path) -> Result<(), Box<dyn Error>> {
    let patch = diffy::Patch::from_str(part)?;
    let name = patch
        .modified()
        .and_then(|name| name.strip_prefix("b/src/"));
    let file = out.join(name.ok_or("a patch without a file")?);
    let text = fs::read_to_string(&file)?;
    let text =
        diffy::apply(&text, &patch).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(fs::write(&file, text)?)
}
