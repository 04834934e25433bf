//! An echo server for each runtime, side by side: a task for each connection, with a buffer of
//! 1 KiB, reads and writes back until the client leaves.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// Room for what is read.
pub const BUFFER: usize = 1024;

/// popleft with a loop that spins for 50 us before it sleeps.
pub const SPINNING: &str = "popleft-spinning";

/// Serves until the process ends. `None` when this build has no such peer.
pub fn serve(peer: &str, addr: SocketAddr) -> Option<io::Result<()>> {
    match peer {
        "popleft" => Some(popleft(addr, Duration::ZERO)),
        SPINNING => Some(popleft(addr, Duration::from_micros(50))),
        #[cfg(target_os = "linux")]
        "limit" => Some(limit::serve(addr)),
        #[cfg(feature = "peers")]
        "tokio" => Some(tokio_local_set(addr)),
        #[cfg(feature = "peers")]
        "tokio-local" => Some(tokio_local_runtime(addr)),
        #[cfg(feature = "peers")]
        "smol" => Some(smol(addr)),
        #[cfg(all(feature = "peers", target_os = "linux"))]
        "monoio" => Some(monoio_epoll(addr)),
        #[cfg(all(feature = "peers", target_os = "linux"))]
        "monoio-uring" => Some(monoio_uring(addr)),
        #[cfg(all(feature = "peers", target_os = "linux"))]
        "compio" => Some(compio(addr)),
        #[cfg(all(feature = "peers", target_os = "linux"))]
        "glommio" => Some(glommio(addr)),
        _ => None,
    }
}

fn popleft(addr: SocketAddr, spin: Duration) -> io::Result<()> {
    use popleft::net::{TcpListener, TcpStream};

    async fn echo(stream: TcpStream) -> io::Result<()> {
        let mut buffer = [0; BUFFER];
        loop {
            match stream.read(&mut buffer).await? {
                0 => return Ok(()),
                n => stream.write_all(&buffer[..n]).await?,
            }
        }
    }

    popleft::Runtime::builder().spin(spin).build()?.block_on(async move {
        let listener = TcpListener::bind(addr).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            drop(popleft::spawn(echo(stream)));
        }
    })
}

#[cfg(feature = "peers")]
async fn tokio_server(addr: SocketAddr) -> io::Result<()> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    async fn echo(mut stream: TcpStream) -> io::Result<()> {
        let mut buffer = [0; BUFFER];
        loop {
            match stream.read(&mut buffer).await? {
                0 => return Ok(()),
                n => stream.write_all(&buffer[..n]).await?,
            }
        }
    }

    let listener = TcpListener::bind(addr).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        drop(tokio::task::spawn_local(echo(stream)));
    }
}

#[cfg(feature = "peers")]
fn tokio_local_set(addr: SocketAddr) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, tokio_server(addr))
}

#[cfg(feature = "peers")]
fn tokio_local_runtime(addr: SocketAddr) -> io::Result<()> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build_local(Default::default())?;
    runtime.block_on(tokio_server(addr))
}

#[cfg(feature = "peers")]
fn smol(addr: SocketAddr) -> io::Result<()> {
    use async_io::Async;
    use futures_lite::{AsyncReadExt, AsyncWriteExt};
    use std::net::{TcpListener, TcpStream};

    async fn echo(mut stream: Async<TcpStream>) -> io::Result<()> {
        let mut buffer = [0; BUFFER];
        loop {
            match stream.read(&mut buffer).await? {
                0 => return Ok(()),
                n => stream.write_all(&buffer[..n]).await?,
            }
        }
    }

    let executor = async_executor::LocalExecutor::new();
    async_io::block_on(executor.run(async {
        let listener = Async::<TcpListener>::bind(addr)?;
        loop {
            let (stream, _) = listener.accept().await?;
            executor.spawn(echo(stream)).detach();
        }
    }))
}

#[cfg(all(feature = "peers", target_os = "linux"))]
async fn monoio_server(addr: SocketAddr) -> io::Result<()> {
    use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
    use monoio::net::{TcpListener, TcpStream};

    async fn echo(mut stream: TcpStream) -> io::Result<()> {
        let mut buffer = Vec::with_capacity(BUFFER);
        loop {
            let (read, filled) = stream.read(buffer).await;
            if read? == 0 {
                return Ok(());
            }
            let (written, emptied) = stream.write_all(filled).await;
            written?;
            buffer = emptied;
            buffer.clear();
        }
    }

    let listener = TcpListener::bind(addr)?;
    loop {
        let (stream, _) = listener.accept().await?;
        drop(monoio::spawn(echo(stream)));
    }
}

#[cfg(all(feature = "peers", target_os = "linux"))]
fn monoio_epoll(addr: SocketAddr) -> io::Result<()> {
    let mut runtime = monoio::RuntimeBuilder::<monoio::LegacyDriver>::new().build()?;
    runtime.block_on(monoio_server(addr))
}

#[cfg(all(feature = "peers", target_os = "linux"))]
fn monoio_uring(addr: SocketAddr) -> io::Result<()> {
    let mut runtime = monoio::RuntimeBuilder::<monoio::IoUringDriver>::new().build()?;
    runtime.block_on(monoio_server(addr))
}

#[cfg(all(feature = "peers", target_os = "linux"))]
fn compio(addr: SocketAddr) -> io::Result<()> {
    use compio::io::{AsyncRead, AsyncWriteExt};
    use compio::net::{TcpListener, TcpStream};

    async fn echo(mut stream: TcpStream) -> io::Result<()> {
        let mut buffer = Vec::with_capacity(BUFFER);
        loop {
            let compio::BufResult(read, filled) = stream.read(buffer).await;
            if read? == 0 {
                return Ok(());
            }
            let compio::BufResult(written, emptied) = stream.write_all(filled).await;
            written?;
            buffer = emptied;
            buffer.clear();
        }
    }

    compio::runtime::Runtime::new()?.block_on(async move {
        let listener = TcpListener::bind(addr).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            compio::runtime::spawn(echo(stream)).detach();
        }
    })
}

#[cfg(all(feature = "peers", target_os = "linux"))]
fn glommio(addr: SocketAddr) -> io::Result<()> {
    use futures_lite::{AsyncReadExt, AsyncWriteExt};
    use glommio::net::{TcpListener, TcpStream};

    async fn echo(mut stream: TcpStream) -> io::Result<()> {
        let mut buffer = [0; BUFFER];
        loop {
            match stream.read(&mut buffer).await? {
                0 => return Ok(()),
                n => stream.write_all(&buffer[..n]).await?,
            }
        }
    }

    let executor = glommio::LocalExecutor::default();
    executor.run(async move {
        let listener = TcpListener::bind(addr)?;
        loop {
            let stream = listener.accept().await?;
            glommio::spawn_local(echo(stream)).detach();
        }
    })
}

/// The limit: one loop over epoll, level-triggered, and a buffer that all share. It remembers
/// nothing of a connection but its socket.
#[cfg(target_os = "linux")]
mod limit {
    use std::io::{self, ErrorKind, Read, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    use rustix::event::epoll;

    use super::BUFFER;

    const LISTENER: u64 = u64::MAX;

    pub(super) fn serve(addr: SocketAddr) -> io::Result<()> {
        let listener = TcpListener::bind(addr)?;
        listener.set_nonblocking(true)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let readable = epoll::EventFlags::IN;
        epoll::add(&epoll, &listener, epoll::EventData::new_u64(LISTENER), readable)?;
        let mut streams: Vec<Option<TcpStream>> = Vec::new();
        let mut events = Vec::with_capacity(1024);
        let mut buffer = [0; BUFFER];
        loop {
            events.clear();
            epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), None)?;
            for event in &events {
                let key = event.data.u64();
                if key == LISTENER {
                    while let Ok((stream, _)) = listener.accept() {
                        stream.set_nonblocking(true)?;
                        let row = stream.as_raw_fd() as usize;
                        epoll::add(
                            &epoll,
                            &stream,
                            epoll::EventData::new_u64(row as u64),
                            readable,
                        )?;
                        if streams.len() <= row {
                            streams.resize_with(row + 1, || None);
                        }
                        streams[row] = Some(stream);
                    }
                } else if let Some(stream) = &mut streams[key as usize]
                    && !echo(stream, &mut buffer)?
                {
                    streams[key as usize] = None;
                }
            }
        }
    }

    /// False when the client has left.
    fn echo(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<bool> {
        match stream.read(buffer) {
            Ok(0) => Ok(false),
            Ok(n) => Ok(stream.write_all(&buffer[..n]).is_ok()),
            Err(error) => Ok(error.kind() == ErrorKind::WouldBlock),
        }
    }
}
