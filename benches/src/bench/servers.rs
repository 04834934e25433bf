//! Servers under load: what they answer, and what they use for it.

use std::fs;
use std::net::{SocketAddr, TcpListener};

use anyhow::Context;

use crate::bench::Bench;
use crate::child::{Running, Task, Usage};
use crate::load::{Load, Seen};

impl Bench {
    fn server(
        &self,
        peer: &str,
        count: bool,
        watcher: &[&str],
    ) -> anyhow::Result<(Running, SocketAddr)> {
        // The port is free until the server takes it; nothing else here asks for one.
        let addr = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let task = Task::Serve { peer: peer.to_string(), addr, count };
        Ok((Running::start_under(watcher, task, self.first_core)?, addr))
    }

    fn load_core(&self, one_core: bool) -> Option<usize> {
        if one_core { self.first_core } else { self.second_core }
    }

    fn with_times(&self, load: Load) -> Load {
        Load { seconds: self.seconds, ..load }
    }

    /// A server under load: what the load saw, and what the server used meanwhile.
    pub(super) fn under_load(
        &self,
        peer: &str,
        load: Load,
        one_core: bool,
        count: bool,
    ) -> anyhow::Result<(Seen, Usage)> {
        let (mut server, addr) = self.server(peer, count, &[])?;
        let load = Task::Load { addr, load: self.with_times(load) };
        let mut load = Running::start(load, self.load_core(one_core))?;
        let served = |error: anyhow::Error| error.context(format!("the echo server of {peer}"));
        load.hear::<String>().map_err(served)?;
        let before: Usage = server.ask()?;
        load.hear::<String>().map_err(served)?;
        let after: Usage = server.ask()?;
        let seen = load.ask()?;
        let usage = Usage {
            cpu: after.cpu - before.cpu,
            allocations: after.allocations - before.allocations,
            bytes: after.bytes - before.bytes,
        };
        Ok((seen, usage))
    }

    /// System calls for each request, if strace is there to count them.
    pub(super) fn syscalls(&self, peer: &str, load: Load, one_core: bool) -> Option<f64> {
        let summary = std::env::temp_dir().join(format!("popleft-strace-{}", std::process::id()));
        let path = summary.to_str()?;
        let watcher = ["strace", "-f", "-c", "-S", "calls", "-U", "calls,name", "-o", path];
        let counted = || -> anyhow::Result<f64> {
            let (server, addr) = self.server(peer, false, &watcher)?;
            let load_asked = self.with_times(load);
            let task = Task::Load { addr, load: load_asked };
            let mut load = Running::start(task, self.load_core(one_core))?;
            load.hear::<String>()?;
            load.hear::<String>()?;
            let seen: Seen = load.ask()?;
            drop(load);
            server.end()?;
            let text = fs::read_to_string(&summary)?;
            let total = text.lines().rev().find(|line| line.trim_end().ends_with("total"));
            let calls = total.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
            let calls = calls.context("strace has said nothing")?;
            // The warm-up is counted as well: about as many a second.
            let share = 1.0 + load_asked.warm_up / load_asked.seconds;
            Ok(calls / (seen.answers as f64 * share))
        };
        let calls = counted();
        let _ = fs::remove_file(&summary);
        calls.ok()
    }

    pub(super) fn bytes_of_a_connection(
        &self,
        peer: &str,
        connections: usize,
    ) -> anyhow::Result<f64> {
        let (mut server, addr) = self.server(peer, true, &[])?;
        let bytes = |server: &mut Running, idle| -> anyhow::Result<i64> {
            let load = Load { clients: 1, idle, reconnect: false, warm_up: 0.0, seconds: 0.01 };
            let mut load = Running::start(Task::Load { addr, load }, self.second_core)?;
            load.hear::<String>()?;
            load.hear::<String>()?;
            let usage: Usage = server.ask()?;
            load.ask::<Seen>()?;
            Ok(usage.bytes)
        };
        // The first round fills what is kept for later.
        bytes(&mut server, connections)?;
        let few = bytes(&mut server, 0)?;
        let many = bytes(&mut server, connections)?;
        Ok((many - few) as f64 / connections as f64)
    }

    /// Clients that ask all the time, and others that are idle.
    pub(super) fn load_of(&self, clients: usize, idle: usize) -> Load {
        Load { clients, idle, reconnect: false, warm_up: 0.05, seconds: self.seconds }
    }
}
