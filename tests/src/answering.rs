//! HTTP/1.1 as the servers of tests speak it, plain or by TLS.
//!
//! Passes each request on, and answers it as it is told: properly, not at all, or by a reset of the connection.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use axum::{http::Request, response::Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};

/// How a request is answered.
#[derive(Debug)]
pub(crate) enum Answer {
    /// So.
    With(Response),
    /// Not at all; the connection stays open.
    Never,
    /// By a reset of the connection.
    Reset,
}

impl Answer {
    /// Its status; 0: there is none.
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::With(response) => response.status().as_u16(),
            Self::Never | Self::Reset => 0,
        }
    }
}

/// Has this answer every request of every connection.
pub(crate) async fn serve<F>(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    answer: impl Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
) where
    F: Future<Output = Result<Answer>> + Send + 'static,
{
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, answer) = (tls.clone(), answer.clone());
        tokio::spawn(async move {
            // Whatever goes wrong on a connection is the client's to see.
            let _ = accept(stream, tls, answer).await;
        });
    }
}

async fn accept<F: Future<Output = Result<Answer>>>(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    answer: impl Fn(Request<Incoming>) -> F,
) -> Result<()> {
    let raw = stream.into_std()?;
    let same = TcpStream::from_std(raw.try_clone()?)?;
    let stream = TcpStream::from_std(raw)?;
    match tls {
        Some(tls) => {
            let stream = TlsAcceptor::from(tls).accept(stream).await?;
            converse(stream, &same, answer).await
        }
        None => converse(stream, &same, answer).await,
    }
}

/// `same` is the connection below the stream.
async fn converse<F: Future<Output = Result<Answer>>>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    same: &TcpStream,
    answer: impl Fn(Request<Incoming>) -> F,
) -> Result<()> {
    let service = service_fn(|request| {
        let answer = answer(request);
        async move {
            match answer.await? {
                Answer::With(response) => anyhow::Ok(response),
                Answer::Never => std::future::pending().await,
                Answer::Reset => {
                    same.set_zero_linger()?;
                    bail!("reset");
                }
            }
        }
    });
    let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    served.await.context("serve")
}
