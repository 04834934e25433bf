//! How a server ends: at Ctrl-C or SIGTERM, in order, within a second.
//!
//! In order means: no new clients; what clients have sent is answered; then every client reads the
//! end of the file. One call does most of this. `shutdown(Read)` on a client's socket makes reads
//! return what has arrived and then the end of file, as if the client had said goodbye. So each
//! handler ends as it always does, and the server has ended when the last handler has.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::process;
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

/// How long the requests in flight have. Ending the process takes a moment too, and both together
/// are to be less than a second.
pub const GRACE: Duration = Duration::from_millis(900);

/// A socket that becomes readable, and stays so, at Ctrl-C or SIGTERM.
///
/// Several may be had at once. From the first call on neither signal ends the process by itself.
pub fn signals() -> io::Result<UnixStream> {
    let (asked, asking) = UnixStream::pair()?;
    pipe::register(SIGINT, asking.try_clone()?)?;
    pipe::register(SIGTERM, asking)?;
    Ok(asked)
}

/// Starts a thread that calls `begin_to_stop` at a signal, and ends the process after [`GRACE`]
/// if it still runs then: a computation cannot be interrupted, and a client may never read.
pub fn at_signal(begin_to_stop: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let mut asked = signals()?;
    let wait_for_it = move || {
        if asked.read_exact(&mut [0]).is_ok() {
            begin_to_stop();
            thread::sleep(GRACE);
            process::exit(0);
        }
    };
    thread::Builder::new().name("stop".into()).spawn(wait_for_it)?;
    Ok(())
}
