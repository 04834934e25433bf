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

    /// The clients of one server.
    struct Clients {
        addr: SocketAddr,
        epoll: OwnedFd,
        clients: Vec<Client>,
        /// A new connection for each request.
        reconnect: bool,
    }

    impl Clients {
        fn start(addr: SocketAddr, load: &Load) -> io::Result<Clients> {
            let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
            let clients = (0..load.clients).map(|number| Client::start(addr, &epoll, number));
            let clients = clients.collect::<io::Result<Vec<_>>>()?;
            Ok(Clients { addr, epoll, clients, reconnect: load.reconnect })
        }

        /// Asks for so long. How long each answer took, in microseconds.
        fn ask_for(&mut self, time: Duration) -> io::Result<Vec<f64>> {
            let mut latencies = Vec::new();
            let mut events = Vec::with_capacity(1024);
            let tick = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
            let until = Instant::now() + time;
            let mut last_answer = Instant::now();
            loop {
                events.clear();
                let room = rustix::buffer::spare_capacity(&mut events);
                epoll::wait(&self.epoll, room, Some(&tick))?;
                let now = Instant::now();
                if now >= until {
                    return Ok(latencies);
                }
                if now > last_answer + TOO_LONG {
                    return Err(io::Error::new(ErrorKind::TimedOut, "the server does not answer"));
                }
                for event in &events {
                    if let Some(latency) = self.hear(event.data.u64() as usize)? {
                        last_answer = now;
                        latencies.push(latency.as_nanos() as f64 / 1000.0);
                    }
                }
            }
        }

        /// How long the answer of a client took, once it is whole; then the client asks again.
        fn hear(&mut self, number: usize) -> io::Result<Option<Duration>> {
            let client = &mut self.clients[number];
            if !client.hear()? {
                return Ok(None);
            }
            let latency = client.asked.elapsed();
            if self.reconnect {
                *client = Client::start(self.addr, &self.epoll, number)?;
            } else {
                client.ask()?;
            }
            Ok(Some(latency))
        }
    }

    /// Connections that ask nothing.
    fn idle(addr: SocketAddr, count: usize) -> io::Result<Vec<TcpStream>> {
        let connect = |_| {
            // One request each, so that the server has read from it and waits.
            let mut stream = connect(addr)?;
            stream.write_all(&REQUEST)?;
            stream.read_exact(&mut [0; REQUEST.len()])?;
            Ok(stream)
        };
        (0..count).map(connect).collect()
    }

    /// Puts a server under load; `begun` is called when the measured time begins, `ended` when it
    /// ends.
    pub fn run(
        addr: SocketAddr,
        load: Load,
        mut begun: impl FnMut() -> io::Result<()>,
        mut ended: impl FnMut() -> io::Result<()>,
    ) -> io::Result<Seen> {
        let _idle = idle(addr, load.idle)?;
        let mut clients = Clients::start(addr, &load)?;
        let (warm_up, measured) = load.times();
        clients.ask_for(warm_up)?;
        begun()?;
        let start = Instant::now();
        let latencies = clients.ask_for(measured)?;
        let seconds = start.elapsed().as_secs_f64();
        ended()?;
        // A load that is there for its connections alone may have had no answer.
        let quantile = |share| if latencies.is_empty() { 0.0 } else { quantile(&latencies, share) };
        Ok(Seen {
            answers: latencies.len() as u64,
            seconds,
            p50: quantile(0.5),
            p99: quantile(0.99),
            p999: quantile(0.999),
        })
    }
}
