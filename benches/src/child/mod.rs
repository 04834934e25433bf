//! Every measurement is made in a process of its own, so that none inherits another's heap, caches
//! or threads. The bench runs itself again, with these words as arguments.

mod running;
mod work;

use std::env;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use popleft_demos::output;
use serde::{Deserialize, Serialize};

pub(crate) use self::running::last_words;
pub use self::running::{Running, done};
use crate::load::Load;
use crate::measure::stay_on_core;

/// What a child process is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Task {
    /// A small row, for at least so long; counting what it allocates, or not.
    Operation {
        /// The row's name.
        row: String,
        /// The runtime.
        peer: String,
        /// How long at least.
        target: Duration,
        /// Whether allocations are counted, which takes time.
        count: bool,
    },
    /// A small row with exactly so many operations, to be counted from outside the process.
    Times {
        /// The row's name.
        row: String,
        /// The runtime.
        peer: String,
        /// How many operations.
        operations: u64,
    },
    /// A row of bytes.
    Bytes {
        /// The row's name.
        row: String,
        /// The runtime.
        peer: String,
    },
    /// An operation of popleft beside others that do nothing.
    Grown {
        /// Which, as a place in [`Operation::ALL`](crate::rows::grown::Operation::ALL); `None` for all tasks yielding in turn.
        operation: Option<usize>,
        /// How many others.
        others: u64,
        /// How long at least.
        target: Duration,
    },
    /// How late timers are.
    Lateness {
        /// The runtime.
        peer: String,
        /// With a busy task beside.
        busy: bool,
        /// How many are asked for.
        sleeps: u64,
    },
    /// An echo server, until its standard input ends. Each line that it reads there is a question
    /// about [`Usage`].
    Serve {
        /// The runtime.
        peer: String,
        /// Where.
        addr: SocketAddr,
        /// Whether allocations are counted, which takes time.
        count: bool,
    },
    /// The load for a server.
    Load {
        /// Where it is.
        addr: SocketAddr,
        /// What to do.
        load: Load,
    },
}

/// What a server has used so far.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Usage {
    /// How long it computed, in seconds.
    pub cpu: f64,
    /// How often it allocated.
    pub allocations: u64,
    /// How many bytes are in use more than at its start.
    pub bytes: i64,
}

/// The word that makes this program a child.
const CHILD: &str = "__child";

/// Runs the task of a child. `None` when this process is not a child.
pub fn main() -> Option<ExitCode> {
    let mut args = env::args().skip(1);
    if args.next()? != CHILD {
        return None;
    }
    let (core, task) = (args.next()?, args.next()?);
    if let Ok(core) = core.parse()
        && let Err(why) = stay_on_core(core)
    {
        output::complain(why);
    }
    let task = serde_json::from_str(&task).expect("the bench writes what its children read");
    match work::run(task) {
        Ok(()) => Some(ExitCode::SUCCESS),
        Err(error) => {
            output::complain(format_args!("{error:#}"));
            Some(ExitCode::FAILURE)
        }
    }
}
