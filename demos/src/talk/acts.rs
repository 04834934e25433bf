//! The acts: which servers, in which order, and what each is to show.

/// One act of the talk.
#[derive(Debug)]
pub struct Act {
    pub name: &'static str,
    pub title: &'static str,
    pub idea: &'static str,
    /// The server and its options.
    pub server: &'static [&'static str],
    pub point: Point,
    /// Whether it is played without being asked for.
    pub usual: bool,
}

/// What the numbers of an act are to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// The second client hangs until the first one leaves.
    SecondWaits,
    /// Long computations run at the same time.
    RunInParallel,
    /// Long computations starve short requests, and take turns.
    LockStarves,
    /// Short requests go on beside long ones, but each costs more.
    ProcessesCost,
    /// While the loop computes, nobody is served.
    LoopBlocks,
    /// The loop goes on while threads compute.
    LoopGoesOn,
}

pub const ACTS: &[Act] = &[
    Act {
        name: "sequential",
        title: "One client at a time",
        idea: "The simplest server: accept a client, serve it until it leaves, accept the next.",
        server: &["fib-sequential"],
        point: Point::SecondWaits,
        usual: true,
    },
    Act {
        name: "threads",
        title: "A thread for each client",
        idea: "The operating system takes care of it: each client has a thread that may block.",
        server: &["fib-threads"],
        point: Point::RunInParallel,
        usual: true,
    },
    Act {
        name: "gil",
        title: "The same threads under a global interpreter lock",
        idea: "As Python runs them: one lock, held while running, asked back every 5 ms.",
        server: &["fib-gil"],
        point: Point::LockStarves,
        usual: true,
    },
    Act {
        name: "processes",
        title: "Threads that hand the work to processes",
        idea: "The way out of the lock: worker processes compute, and answer through pipes.",
        server: &["fib-processes"],
        point: Point::ProcessesCost,
        usual: true,
    },
    Act {
        name: "generators-inline",
        title: "Generators in a deque, computing in the loop",
        idea: "No threads: each client is a generator that yields wherever it would block.",
        server: &["fib-generators", "--compute", "inline"],
        point: Point::LoopBlocks,
        usual: true,
    },
    Act {
        name: "generators",
        title: "Generators in a deque, computing in threads",
        idea: "The escape hatch: the generator yields a future, and a thread computes.",
        server: &["fib-generators", "--compute", "threads"],
        point: Point::LoopGoesOn,
        usual: true,
    },
    Act {
        name: "tasks",
        title: "Tasks on the finished runtime, computing in threads",
        idea: "The same idea, grown up: async and await instead of yield, wakers instead of tables.",
        server: &["fib-tasks", "--compute", "threads"],
        point: Point::LoopGoesOn,
        usual: true,
    },
    Act {
        name: "tasks-inline",
        title: "Tasks on the finished runtime, computing in the loop",
        idea: "No runtime saves a loop whose tasks do not let go of it.",
        server: &["fib-tasks", "--compute", "inline"],
        point: Point::LoopBlocks,
        usual: false,
    },
    Act {
        name: "cores",
        title: "One loop a core",
        idea: "Several loops that share nothing but the port; the system deals the clients out.",
        server: &["fib-cores", "--compute", "threads"],
        point: Point::LoopGoesOn,
        usual: false,
    },
];

impl Act {
    /// The server's command line, as one would type it.
    pub fn command(&self) -> String {
        self.server.join(" ")
    }
}

/// The act of this name.
pub fn find(name: &str) -> Result<&'static Act, String> {
    ACTS.iter().find(|act| act.name == name).ok_or_else(|| {
        let names: Vec<_> = ACTS.iter().map(|act| act.name).collect();
        format!("the acts are: {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::servers::SERVERS;

    #[test]
    fn every_act_has_a_name_of_its_own_and_a_server_that_exists() {
        for (at, act) in ACTS.iter().enumerate() {
            assert!(SERVERS.contains(&act.server[0]), "{}", act.name);
            assert!(ACTS[at + 1..].iter().all(|other| other.name != act.name));
            assert_eq!(find(act.name).unwrap().name, act.name);
        }
        for server in SERVERS {
            assert!(ACTS.iter().any(|act| act.server[0] == *server), "{server} has no act");
        }
    }
}
