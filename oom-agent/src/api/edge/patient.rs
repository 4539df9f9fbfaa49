//! A connection that is given up when its peer does not read.
//!
//! Reads and writes as what it wraps; emits `TimedOut` when a write has found no room for too long. Refuses
//! to count the time in which there is nothing to write.

use std::{
    future::Future as _,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// The connection.
#[derive(Debug)]
pub(super) struct Patient<T> {
    io: T,
    patience: Duration,
    /// Running while a write waits.
    waits: Option<Pin<Box<Sleep>>>,
}

impl<T> Patient<T> {
    /// Gives up after a write has waited so long.
    pub(super) const fn new(io: T, patience: Duration) -> Self {
        Self {
            io,
            patience,
            waits: None,
        }
    }
}

impl<T: AsyncWrite + Unpin> Patient<T> {
    fn within<V>(
        &mut self,
        context: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut T>, &mut Context<'_>) -> Poll<io::Result<V>>,
    ) -> Poll<io::Result<V>> {
        if let Poll::Ready(written) = write(Pin::new(&mut self.io), context) {
            self.waits = None;
            return Poll::Ready(written);
        }
        let patience = self.patience;
        let waits = self.waits.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(waits.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Patient<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, into)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Patient<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.within(context, |io, context| io.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.within(context, |io, context| {
            io.poll_write_vectored(context, parts)
        })
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.within(context, AsyncWrite::poll_flush)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.within(context, AsyncWrite::poll_shutdown)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, duplex},
        runtime::Builder,
        time::Instant,
    };

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(500);

    fn run(test: impl Future<Output = ()>) {
        let runtime = Builder::new_current_thread().enable_time().build();
        runtime.unwrap().block_on(test);
    }

    #[test]
    fn who_does_not_read_is_given_up() {
        run(async {
            let (_peer, io) = duplex(16);
            let mut io = Patient::new(io, PATIENCE / 10);
            let began = Instant::now();
            let error = io.write_all(&[0; 100]).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert!(began.elapsed() >= PATIENCE / 10);
        });
    }

    #[test]
    fn who_reads_slowly_is_not() {
        run(async {
            let (mut peer, io) = duplex(16);
            let mut io = Patient::new(io, PATIENCE);
            let began = Instant::now();
            let read = async {
                let mut buffer = [0; 16];
                while began.elapsed() < PATIENCE * 2 {
                    sleep(PATIENCE / 10).await;
                    peer.read_exact(&mut buffer).await.unwrap();
                }
            };
            let write = async {
                loop {
                    io.write_all(&[0; 16]).await.unwrap();
                }
            };
            tokio::select! {
                () = read => {}
                () = write => {}
            }
        });
    }
}
