//! Folds functions that are the same after monomorphisation, and packs relocations: the sidecar's image is
//! pulled by every node.
//! Only where the linker is the toolchain's own, which knows how.

fn main() {
    let target = std::env::var("TARGET").unwrap_or_default();
    if target == "x86_64-unknown-linux-gnu" {
        println!("cargo::rustc-link-arg-bins=-Wl,--icf=all,-z,pack-relative-relocs");
    }
    println!("cargo::rerun-if-changed=build.rs");
}
