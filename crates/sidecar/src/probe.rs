//! `weir-sidecar probe` and `weir probe`: the stranger's half of the redirect's self-test.
//!
//! Run in another container of the pod, without any capability, before the application starts: it
//! succeeds only if its connection was captured by a Weir that serves.

use std::process::ExitCode;
use std::time::Duration;

use tokio::time::Instant;
use weir_transport::selftest;

/// Between two tries.
const AGAIN: Duration = Duration::from_millis(100);

/// Arguments of `weir probe`.
#[derive(Debug, clap::Args)]
pub struct ProbeArgs {
    /// How long to try, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    timeout: u64,
}

/// Tries until it is captured or the time is over.
pub async fn run(args: &ProbeArgs) -> ExitCode {
    let deadline = Instant::now() + Duration::from_secs(args.timeout);
    loop {
        let error = match selftest::dial_probe().await {
            Ok(()) => {
                println!("captured");
                return ExitCode::SUCCESS;
            }
            Err(error) => error,
        };
        if Instant::now() >= deadline {
            eprintln!("weir: not captured: {error}");
            return ExitCode::FAILURE;
        }
        tokio::time::sleep(AGAIN).await;
    }
}
