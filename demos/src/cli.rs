//! What the servers' command lines have in common, and the first and last things a server does.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::Context;
use clap::Parser;
use clap::error::ErrorKind;
use popleft::sim::{Schedule, Sim};
use socket2::{Domain, Socket, Type};

use crate::protocol::{Framing, Rules};
use crate::{fib, output};

/// How many clients the kernel may hold for us before we accept them, if the system allows it.
const BACKLOG: i32 = 4096;

/// The options that every server has.
#[derive(Clone, Debug, clap::Args)]
pub struct ServerOptions {
    /// Where to listen; port 0 takes any free port
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:25000")]
    pub addr: String,

    /// Where a request ends
    #[arg(long, value_enum, default_value_t)]
    pub framing: Framing,

    /// The largest n that clients may ask for
    #[arg(long, value_name = "N", default_value_t = Rules::default().max_n,
          value_parser = clap::value_parser!(u64).range(1..=fib::LARGEST))]
    pub max_n: u64,
}

/// How many requests are computed at once, for the servers that have workers.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct WorkerOptions {
    /// How many requests are computed at once [default: 4, as in the talk]
    #[arg(long, value_name = "COUNT", value_parser = parse_count)]
    workers: Option<NonZeroUsize>,
}

/// Where a loop computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Compute {
    /// In the loop itself: meanwhile nobody else is served
    Inline,
    /// In a pool of threads, while the loop goes on
    Threads,
}

/// The options of a server that runs on a loop.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct ComputeOptions {
    /// Where Fibonacci numbers are computed
    #[arg(long, value_enum, default_value_t = Compute::Threads)]
    compute: Compute,

    #[command(flatten)]
    workers: WorkerOptions,
}

/// The option of every program that runs on popleft's own loop.
#[derive(Clone, Debug, clap::Args)]
pub struct TraceOption {
    /// Record the run to FILE, as JSON Lines; with several loops, to FILE, FILE.2 and so on
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

impl TraceOption {
    pub fn is_wanted(&self) -> bool {
        self.trace.is_some()
    }

    /// Begins the recording, if one is wanted. This comes before the first loop is made.
    pub fn begin(&self) -> anyhow::Result<()> {
        let Some(path) = &self.trace else {
            return Ok(());
        };
        popleft::record::record_all(path)
            .with_context(|| format!("cannot record to {} (--trace)", path.display()))
    }
}

impl ServerOptions {
    /// What the server accepts.
    pub fn rules(&self) -> Rules {
        Rules { framing: self.framing, max_n: self.max_n }
    }

    /// Binds the address. [`announce`] it when the server is ready.
    pub fn listen(&self) -> anyhow::Result<TcpListener> {
        listen(&self.addr).map_err(|error| cannot_listen(&self.addr, error))
    }
}

/// The error when an address cannot be bound.
pub fn cannot_listen(addr: &str, error: io::Error) -> anyhow::Error {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => {
            " (is another server running? --addr 127.0.0.1:0 takes any free port)"
        }
        _ => "",
    };
    anyhow::Error::from(error).context(format!("cannot listen on {addr}{hint}"))
}

impl WorkerOptions {
    pub fn count(self) -> usize {
        self.workers.map_or(4, NonZeroUsize::get)
    }
}

impl ComputeOptions {
    /// How many threads compute, `None` when the loop does it itself.
    ///
    /// # Errors
    ///
    /// A mistake on the command line, when there are workers and nothing for them to do.
    pub fn threads(self) -> Result<Option<usize>, clap::Error> {
        match (self.compute, self.workers.workers) {
            (Compute::Threads, _) => Ok(Some(self.workers.count())),
            (Compute::Inline, None) => Ok(None),
            (Compute::Inline, Some(_)) => Err(clap::Error::raw(
                ErrorKind::ArgumentConflict,
                "--compute inline has no workers; leave out --workers\n",
            )),
        }
    }
}

/// How many workers, threads or loops there are to be.
pub(crate) fn parse_count(text: &str) -> Result<NonZeroUsize, String> {
    match text.parse() {
        Ok(count) if (1..=256).contains(&count) => Ok(NonZeroUsize::new(count).expect("not zero")),
        _ => Err("must be a number from 1 to 256".into()),
    }
}

/// The options of a program of tasks that can also run in the simulated world.
#[derive(Clone, Debug, clap::Args)]
pub struct SimOptions {
    /// Simulate it: time is virtual, and every run is the same
    #[arg(long, group = "way")]
    sim: bool,

    /// Have the next task chosen at random; the same N makes the same choices
    #[arg(long, value_name = "N", requires = "sim", conflicts_with = "schedule")]
    seed: Option<u64>,

    /// Which of the ready tasks goes next, wherever there is a choice, such as 2,0,1
    #[arg(long, value_name = "CHOICES", requires = "sim")]
    schedule: Option<Schedule>,
}

impl SimOptions {
    /// The seed, if one was given.
    pub fn seed(&self) -> Option<u64> {
        self.seed
    }

    /// The simulation that is wanted, if one is.
    pub fn simulation(&self) -> Option<Sim> {
        let sim = self.sim.then(Sim::new)?;
        Some(match (self.seed, &self.schedule) {
            (Some(seed), _) => sim.seed(seed),
            (_, Some(schedule)) => sim.schedule(schedule.clone()),
            (None, None) => sim,
        })
    }
}

/// Reads the options and runs the program with them. Its errors are printed and become exit
/// code 1; a mistake on the command line becomes 2. A closed standard output is no error.
pub fn run<Options: Parser>(
    name: &str,
    args: impl Iterator<Item = OsString>,
    program: impl FnOnce(Options) -> anyhow::Result<()>,
) -> ExitCode {
    let command_line = std::iter::once(name.into()).chain(args);
    let options = match Options::try_parse_from(command_line) {
        Ok(options) => options,
        Err(help_or_mistake) => return explain(name, &help_or_mistake),
    };
    let ended = program(options).and_then(|()| Ok(output::stdout().flush()?));
    let Err(error) = ended else {
        return ExitCode::SUCCESS;
    };
    match error.downcast_ref() {
        // Options that are right one by one and wrong together.
        Some(mistake) => explain(name, mistake),
        None => failed(name, &error),
    }
}

fn explain(name: &str, help_or_mistake: &clap::Error) -> ExitCode {
    if help_or_mistake.use_stderr() {
        // When this fails, there is nowhere left to report it.
        let _ = help_or_mistake.print();
    } else if let Err(error) = write!(output::stdout(), "{}", help_or_mistake.render().ansi()) {
        return failed(name, &error.into());
    }
    ExitCode::from(help_or_mistake.exit_code() as u8)
}

fn failed(name: &str, error: &anyhow::Error) -> ExitCode {
    if output::nobody_reads(error) {
        return ExitCode::SUCCESS;
    }
    output::complain(format_args!("{name}: {}", output::with_causes(error)));
    ExitCode::FAILURE
}

/// This very program, to be started once more: the one that runs, even if its file has been
/// replaced or built anew meanwhile, so that its path leads to another program or to none.
///
/// # Errors
///
/// When the path of the program cannot be found.
pub fn this_program() -> io::Result<Command> {
    /// No path but a link that Linux keeps, to the very file that this process runs.
    const WHAT_RUNS: &str = "/proc/self/exe";
    let mut path = std::env::current_exe()?;
    if let Ok(runs) = fs::metadata(WHAT_RUNS)
        && !fs::metadata(&path).is_ok_and(|found| is_same_file(&found, &runs))
    {
        path = WHAT_RUNS.into();
    }
    let mut program = Command::new(path);
    if let Some(name) = std::env::args_os().next() {
        program.arg0(name);
    }
    Ok(program)
}

fn is_same_file(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// The arguments of this process, without its name.
pub fn arguments() -> impl Iterator<Item = OsString> {
    std::env::args_os().skip(1)
}

/// Prints on the first line of stdout where the server listens. By then it has all that it needs:
/// a client may connect as soon as it reads the line, and what fails from now on must cost no more
/// than a connection.
///
/// # Errors
///
/// When there is no descriptor even for one client, and when the line cannot be written. A closed
/// pipe is no error: the program that started the server may have no use for the line.
pub fn announce(addr: SocketAddr) -> anyhow::Result<()> {
    let for_a_client = Socket::new(Domain::for_address(addr), Type::STREAM, None);
    drop(for_a_client.context("no client could be served")?);
    if addr.ip().to_canonical().is_unspecified() {
        output::complain(format_args!("{}", open_to_the_network(addr)));
    }
    let mut stdout = output::stdout();
    let said = writeln!(stdout, "listening on {addr}").and_then(|()| stdout.flush());
    match said.map_err(anyhow::Error::from) {
        Err(error) if !output::nobody_reads(&error) => Err(error),
        _ => Ok(()),
    }
}

fn open_to_the_network(addr: SocketAddr) -> String {
    format!(
        "warning: {} means all addresses of this machine: the server is open to the network \
         (--addr 127.0.0.1:{} is not)",
        addr.ip(),
        addr.port()
    )
}

/// Tries every address that `addr` stands for.
fn listen(addr: &str) -> io::Result<TcpListener> {
    let mut failure = None;
    for addr in addr.to_socket_addrs()? {
        match listen_on(addr) {
            Ok(listener) => return Ok(listener),
            Err(error) => failure = Some(error),
        }
    }
    Err(failure.unwrap_or_else(|| io::Error::other("the name stands for no address")))
}

fn listen_on(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    // Connections of a server that has just ended must not keep the port from the next one.
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Loop {
        #[command(flatten)]
        server: ServerOptions,
        #[command(flatten)]
        compute: ComputeOptions,
    }

    fn parse(args: &[&str]) -> Result<Loop, clap::Error> {
        Loop::try_parse_from([&["loop"], args].concat())
    }

    #[test]
    fn the_defaults_are_those_of_the_talk() {
        let options = parse(&[]).unwrap();
        assert_eq!(options.server.addr, "127.0.0.1:25000");
        assert_eq!(options.server.rules().framing, Framing::Auto);
        assert_eq!(options.server.rules().max_n, 45);
        assert_eq!(options.compute.threads().unwrap(), Some(4));
    }

    #[test]
    fn workers_are_counted_only_where_there_are_some() {
        let threads = |args| parse(args).unwrap().compute.threads();
        assert_eq!(threads(&["--workers", "7"]).unwrap(), Some(7));
        assert_eq!(threads(&["--compute", "inline"]).unwrap(), None);
        assert!(threads(&["--compute", "inline", "--workers", "7"]).is_err());
        assert!(parse(&["--workers", "0"]).is_err());
    }

    #[test]
    fn a_limit_whose_results_do_not_fit_is_refused() {
        assert!(parse(&["--max-n", "93"]).is_ok());
        assert!(parse(&["--max-n", "94"]).is_err());
        assert!(parse(&["--max-n", "0"]).is_err());
    }

    #[test]
    fn a_port_that_is_taken_is_named_with_a_way_out() {
        let mut options = parse(&["--addr", "127.0.0.1:0"]).unwrap().server;
        let listener = options.listen().unwrap();
        options.addr = listener.local_addr().unwrap().to_string();
        let said = format!("{:#}", options.listen().unwrap_err());
        assert!(said.contains(&options.addr), "{said}");
        assert!(said.contains("--addr 127.0.0.1:0"), "{said}");
    }
}
