//! `weir-sidecar probe` and `weir probe`: the stranger's half of the redirect's self-test.
//!
//! Run in another container of the pod, without any capability, before the application starts: it
//! succeeds only if its connection was captured by a Weir that serves. It is also what the
//! application waits for: a connection that is refused was captured by a Weir that does not serve
//! yet, and that may take as long as it takes.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use tokio::time::Instant;
use weir_transport::selftest;

/// Between two tries.
const AGAIN: Duration = Duration::from_millis(50);
/// After so long it says what it waits for.
const PATIENCE: Duration = Duration::from_secs(3);

/// Arguments of `weir probe`.
#[derive(Debug, clap::Args)]
pub struct ProbeArgs {
    /// How long connections may go elsewhere before this fails, in seconds; one that is refused waits
    /// for Weir to serve, however long that takes
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    timeout: u64,
}

/// Tries until it is captured by a Weir that serves, or was not for too long.
pub async fn run(args: &ProbeArgs) -> ExitCode {
    let waited = wait(
        Duration::from_secs(args.timeout),
        selftest::dial_probe,
        || {
            println!("waiting: no Weir serves yet (its own log says why)");
        },
    );
    match waited.await {
        Ok(()) => {
            println!("captured");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("weir: not captured: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Dials until that succeeds. `timeout` is how long it may fail at a stretch by anything but a
/// refusal; `say` is called once, when it takes long.
async fn wait<F>(timeout: Duration, dial: impl Fn() -> F, say: impl FnOnce()) -> io::Result<()>
where
    F: Future<Output = io::Result<()>>,
{
    let began = Instant::now();
    let mut say = Some(say);
    let mut deadline = began + timeout;
    loop {
        let Err(error) = dial().await else {
            return Ok(());
        };
        let now = Instant::now();
        if error.kind() == io::ErrorKind::ConnectionRefused {
            deadline = now + timeout;
            if now - began >= PATIENCE
                && let Some(say) = say.take()
            {
                say();
            }
        } else if now >= deadline {
            return Err(error);
        }
        tokio::time::sleep(AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Answers one after the other, each for that many seconds; `None` is success.
    async fn waited(answers: &[(u64, Option<io::ErrorKind>)]) -> (io::Result<()>, u32, Duration) {
        let began = Instant::now();
        let said = Cell::new(0);
        let dial = async || {
            let mut over = Duration::ZERO;
            for (seconds, answer) in answers {
                over += Duration::from_secs(*seconds);
                if began.elapsed() < over {
                    return answer.map_or(Ok(()), |kind| Err(kind.into()));
                }
            }
            Ok(())
        };
        let done = wait(Duration::from_secs(30), dial, || said.set(said.get() + 1)).await;
        (done, said.get(), began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_sidecar_that_does_not_serve_yet_is_waited_for() {
        let (done, said, took) = waited(&[(600, Some(io::ErrorKind::ConnectionRefused))]).await;
        assert!(done.is_ok() && took >= Duration::from_secs(600));
        assert_eq!(said, 1);
        let (done, said, _) = waited(&[(1, Some(io::ErrorKind::ConnectionRefused))]).await;
        assert!(done.is_ok());
        assert_eq!(said, 0, "nothing is said of what is usual");
    }

    #[tokio::test(start_paused = true)]
    async fn what_goes_elsewhere_for_too_long_is_a_failure() {
        for kind in [io::ErrorKind::TimedOut, io::ErrorKind::HostUnreachable] {
            let (done, _, took) = waited(&[(100, Some(kind))]).await;
            assert_eq!(done.unwrap_err().kind(), kind);
            assert!(took < Duration::from_secs(31));
            // A sidecar that starts again takes its time anew.
            let refused = (40, Some(io::ErrorKind::ConnectionRefused));
            let (done, _, took) = waited(&[(20, Some(kind)), refused, (20, Some(kind))]).await;
            assert!(done.is_ok() && took >= Duration::from_secs(80));
        }
    }
}
