//! Runs commands with a time limit. Each gets a process group of its own, which ends with it: no child is left behind.

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Groups that are alive, for the signal handler.
static GROUPS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// How long a server may take to say where it listens.
const SERVER_START: Duration = Duration::from_secs(10);

/// How often a child that runs is asked whether it has ended.
const POLL: Duration = Duration::from_millis(5);

/// Ctrl-C reaches only the tool's own group, so the others are ended by hand.
pub fn end_groups_on_signals() -> Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            let groups = GROUPS.lock().map(|groups| groups.clone());
            for group in groups.unwrap_or_default() {
                end_group(group);
            }
            std::process::exit(128 + signal);
        }
    });
    Ok(())
}

/// A child, its group and the threads that read what it says. Dropping it ends the group.
struct Group {
    child: Child,
    id: i32,
    readers: Vec<JoinHandle<Vec<u8>>>,
}

impl Group {
    fn start(command: &mut Command) -> Result<Group> {
        command
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child =
            command.spawn().with_context(|| format!("cannot start {:?}", command.get_program()))?;
        let id = i32::try_from(child.id())?;
        if let Ok(mut groups) = GROUPS.lock() {
            groups.insert(id);
        }
        Ok(Group { child, id, readers: Vec::new() })
    }

    fn read(&mut self, mut pipe: impl Read + Send + 'static) {
        self.readers.push(thread::spawn(move || {
            let mut bytes = Vec::new();
            // What came before a broken pipe is still shown.
            let _ = pipe.read_to_end(&mut bytes);
            bytes
        }));
    }

    fn texts(&mut self) -> Vec<String> {
        let readers = self.readers.drain(..);
        let texts = readers.map(|reader| {
            let bytes = reader.join().unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        });
        texts.collect()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        end_group(self.id);
        let _ = self.child.wait();
        if let Ok(mut groups) = GROUPS.lock() {
            groups.remove(&self.id);
        }
    }
}

fn end_group(id: i32) {
    if let Some(pid) = Pid::from_raw(id) {
        // It may have ended by itself.
        let _ = kill_process_group(pid, Signal::KILL);
    }
}

/// A command that ended in time.
pub struct Finished {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// Runs `command` to its end, or kills it with its children after `limit`.
pub fn run(command: &mut Command, stdin: &str, limit: Duration) -> Result<Finished> {
    let deadline = Instant::now() + limit;
    let mut group = Group::start(command)?;
    let stdout = group.child.stdout.take();
    let stderr = group.child.stderr.take();
    if let (Some(stdout), Some(stderr)) = (stdout, stderr) {
        group.read(stdout);
        group.read(stderr);
    }
    if let Some(mut pipe) = group.child.stdin.take() {
        let stdin = stdin.to_string();
        // On its own thread, for a command may print before it reads. One that reads nothing breaks the pipe.
        thread::spawn(move || {
            let _ = pipe.write_all(stdin.as_bytes());
        });
    }
    loop {
        if let Some(status) = group.child.try_wait()? {
            // Children that it left hold the pipes open.
            end_group(group.id);
            let texts = group.texts();
            let [stdout, stderr] = <[String; 2]>::try_from(texts).unwrap_or_default();
            return Ok(Finished { status, stdout, stderr });
        }
        if Instant::now() >= deadline {
            end_group(group.id);
            let texts = group.texts();
            let said = tail(texts.last().map_or("", String::as_str));
            bail!("killed after {} s{said}", limit.as_secs());
        }
        thread::sleep(POLL);
    }
}

/// The last lines of what a command said on stderr, to show beside an error.
pub fn tail(stderr: &str) -> String {
    let lines: Vec<&str> = stderr.lines().collect();
    let last = &lines[lines.len().saturating_sub(8)..];
    last.iter().map(|line| format!("\n    {line}")).collect()
}

/// A server that listens; dropping it ends it.
pub struct Server {
    pub address: String,
    group: Group,
}

impl Server {
    /// Starts `command` and waits for its line `listening on ADDR`.
    pub fn start(command: &mut Command) -> Result<Server> {
        let mut group = Group::start(command)?;
        let Some(stdout) = group.child.stdout.take() else {
            bail!("the server has no stdout");
        };
        let (sender, receiver) = std::sync::mpsc::channel();
        thread::spawn(move || {
            let mut lines = BufReader::new(stdout).lines();
            for line in lines.by_ref().map_while(Result::ok) {
                if let Some((_, address)) = line.split_once("listening on ") {
                    let address = address.split_whitespace().next().unwrap_or("");
                    // The receiver may have given up.
                    let _ = sender.send(address.to_string());
                    break;
                }
            }
            // A server whose pipe is full would stop.
            for _ in lines.map_while(Result::ok) {}
        });
        if let Some(stderr) = group.child.stderr.take() {
            group.read(stderr);
        }
        match receiver.recv_timeout(SERVER_START) {
            Ok(address) => Ok(Server { address, group }),
            Err(_) => {
                end_group(group.id);
                let said = tail(group.texts().first().map_or("", String::as_str));
                bail!("the server did not say `listening on ADDR`{said}");
            }
        }
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.group.child.try_wait(), Ok(None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(line: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", line]);
        command
    }

    fn is_alive(pid: &str) -> bool {
        let stat =
            std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        // A zombie that init has not collected yet has ended.
        !stat.is_empty() && !stat.contains(") Z ")
    }

    fn wait_until_gone(pid: &str) {
        let deadline = Instant::now() + Duration::from_secs(5);
        while is_alive(pid) {
            assert!(Instant::now() < deadline, "{pid} is still alive");
            thread::sleep(POLL);
        }
    }

    #[test]
    fn input_goes_in_and_both_outputs_come_out() {
        let finished =
            run(&mut shell("cat; echo e >&2; exit 3"), "in\n", Duration::from_secs(5)).unwrap();
        assert_eq!(finished.stdout, "in\n");
        assert_eq!(finished.stderr, "e\n");
        assert_eq!(finished.status.code(), Some(3));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_command_that_takes_too_long_dies_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let line = format!("sleep 1000 & echo $! > {}; wait", file.display());
        let error = run(&mut shell(&line), "", Duration::from_millis(500)).err().unwrap();
        assert!(format!("{error}").contains("killed after"), "{error}");
        wait_until_gone(&std::fs::read_to_string(file).unwrap());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_a_command_leaves_behind_ends_with_it() {
        let finished = run(&mut shell("sleep 1000 & echo $!"), "", Duration::from_secs(5)).unwrap();
        wait_until_gone(&finished.stdout);
    }

    #[test]
    fn a_server_tells_its_address_and_one_that_does_not_is_an_error() {
        let server =
            Server::start(&mut shell("echo hello; echo listening on 1.2.3.4:5; sleep 1000"));
        assert_eq!(server.unwrap().address, "1.2.3.4:5");
        let error = Server::start(&mut shell("echo no port >&2; exit 1")).err().unwrap();
        assert!(format!("{error}").contains("no port"), "{error}");
    }
}
