//! The profile `measured`, in which all code is open to the optimiser.

use std::env;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, bail};
use popleft_demos::output;

/// Whether this program was built in the profile `measured`.
pub(crate) fn is_measured() -> anyhow::Result<bool> {
    Ok(env::current_exe()?.parent().is_some_and(|folder| folder.ends_with("measured")))
}

/// `--release` is quick to build and leaves each crate by itself. So this program builds itself
/// once more, in the profile `measured`, and continues as that. It returns only if it is that
/// already, or was not started by cargo.
pub(crate) fn build_again(program: &str, with_peers: bool) -> anyhow::Result<()> {
    let has_what_it_needs = cfg!(feature = "peers") || !with_peers;
    if is_measured()? && has_what_it_needs {
        return Ok(());
    }
    let Some(cargo) = env::var_os("CARGO") else {
        return Ok(());
    };
    output::complain(format_args!(
        "{program}: building all with fat link-time optimisation (once; some minutes)"
    ));
    let this = env::current_exe()?;
    let folder = this.parent().context("this program lies nowhere")?;
    let mut build = Command::new(cargo);
    build.args(["build", "--profile", "measured", "-p", "popleft-benches", "--bin", program]);
    build.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    build.env("CARGO_TARGET_DIR", folder.parent().context("no target folder")?);
    if with_peers {
        build.args(["--features", "peers"]);
    }
    if !build.status()?.success() {
        bail!("the build failed");
    }
    let measured = folder.with_file_name("measured").join(program);
    let error = Command::new(&measured).args(env::args_os().skip(1)).exec();
    bail!("cannot run {}: {error}", measured.display())
}
