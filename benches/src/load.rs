//! The one load for all servers: so many clients, each with one request of 64 bytes under way.

#[cfg(target_os = "linux")]
pub use linux::run;

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What the load is to do.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Load {
    /// How many connections ask at the same time.
    pub clients: usize,
    /// How many more are open and ask nothing.
    pub idle: usize,
    /// A new connection for each request.
    pub reconnect: bool,
    /// How long to let things settle, in seconds.
    pub warm_up: f64,
    /// How long to measure, in seconds.
    pub seconds: f64,
}

/// What the load saw.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Seen {
    /// Answers in the measured time.
    pub answers: u64,
    /// How long that was, in seconds.
    pub seconds: f64,
    /// How long an answer took, in microseconds: half of them at most this, and so on.
    pub p50: f64,
    /// 99 of 100.
    pub p99: f64,
    /// 999 of 1000.
    pub p999: f64,
}

impl Load {
    fn times(&self) -> (Duration, Duration) {
        let seconds = Duration::from_secs_f64;
        (seconds(self.warm_up), seconds(self.seconds))
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io::{self, ErrorKind, Read, Write};
    use std::net::{SocketAddr, TcpStream};
    use std::os::fd::OwnedFd;
    use std::thread;
    use std::time::{Duration, Instant};

    use rustix::event::{Timespec, epoll};

    use super::{Load, Seen};
    use crate::measure::quantile;

    const REQUEST: [u8; 64] = [b'x'; 64];

    /// Nothing takes this long; it keeps a broken server from holding up the bench for ever.
    const TOO_LONG: Duration = Duration::from_secs(20);

    struct Client {
        stream: TcpStream,
        asked: Instant,
        missing: usize,
    }

    fn connect(addr: SocketAddr) -> io::Result<TcpStream> {
        let deadline = Instant::now() + TOO_LONG;
        loop {
            match TcpStream::connect(addr) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                // The server may not listen yet, or be behind with accepting.
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    impl Client {
        fn start(addr: SocketAddr, epoll: &OwnedFd, number: usize) -> io::Result<Client> {
            let stream = connect(addr)?;
            let key = epoll::EventData::new_u64(number as u64);
            epoll::add(epoll, &stream, key, epoll::EventFlags::IN)?;
            let mut client = Client { stream, asked: Instant::now(), missing: 0 };
            client.ask()?;
            Ok(client)
        }

        fn ask(&mut self) -> io::Result<()> {
            self.asked = Instant::now();
            self.missing = REQUEST.len();
            self.stream.write_all(&REQUEST)
        }

        /// True when the answer is whole.
        fn hear(&mut self) -> io::Result<bool> {
            let mut buffer = [0; REQUEST.len()];
            match self.stream.read(&mut buffer[..self.missing])? {
                0 => Err(ErrorKind::UnexpectedEof.into()),
                n => {
                    self.missing -= n;
                    Ok(self.missing == 0)
                }
            }
        }
    }

    /// Puts a server under load; `begun` is called when the measured time begins, `ended` when it
    /// ends.
    pub fn run(
        addr: SocketAddr,
        load: Load,
        mut begun: impl FnMut() -> io::Result<()>,
        mut ended: impl FnMut() -> io::Result<()>,
    ) -> io::Result<Seen> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut idle = Vec::new();
        for _ in 0..load.idle {
            // One request each, so that the server has read from it and waits.
            let mut stream = connect(addr)?;
            stream.write_all(&REQUEST)?;
            stream.read_exact(&mut [0; REQUEST.len()])?;
            idle.push(stream);
        }
        let clients = (0..load.clients).map(|number| Client::start(addr, &epoll, number));
        let mut clients = clients.collect::<io::Result<Vec<_>>>()?;

        let (warm_up, measured) = load.times();
        let mut from = Instant::now() + warm_up;
        let mut counting = false;
        let mut latencies: Vec<f64> = Vec::new();
        let mut events = Vec::with_capacity(1024);
        let tick = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
        let mut last_answer = Instant::now();
        loop {
            events.clear();
            epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), Some(&tick))?;
            let now = Instant::now();
            if !counting && now >= from {
                counting = true;
                begun()?;
                from = Instant::now();
            }
            if counting && now >= from + measured {
                break;
            }
            if now > last_answer + TOO_LONG {
                return Err(io::Error::new(ErrorKind::TimedOut, "the server does not answer"));
            }
            for event in &events {
                let number = event.data.u64() as usize;
                if !clients[number].hear()? {
                    continue;
                }
                last_answer = now;
                if counting {
                    latencies.push(clients[number].asked.elapsed().as_nanos() as f64 / 1000.0);
                }
                if load.reconnect {
                    clients[number] = Client::start(addr, &epoll, number)?;
                } else {
                    clients[number].ask()?;
                }
            }
        }
        let seconds = from.elapsed().as_secs_f64();
        ended()?;
        // A load that is there for its connections alone may have had no answer.
        let quantile = |share| match latencies.is_empty() {
            true => 0.0,
            false => quantile(&latencies, share),
        };
        Ok(Seen {
            answers: latencies.len() as u64,
            seconds,
            p50: quantile(0.5),
            p99: quantile(0.99),
            p999: quantile(0.999),
        })
    }
}
