//! An attached one-off without a terminal: it runs on pipes, as a job that ends with its
//! connection.

use crate::dyno::{Dyno, asked, chain};
use crate::life::Ending;
use crate::status::{self, Report};
use crate::{attach, command};
use model::dyno::State;
use sandbox::Started;
use std::os::fd::OwnedFd;
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::sync::watch;

/// Starts it, carries its bytes, and waits for its end or the wish to stop.
pub(crate) async fn live(
    dyno: &mut Dyno,
    stream: UnixStream,
    stop: &mut watch::Receiver<bool>,
) -> Ending {
    let started_us = crate::now_us();
    let (started, input, output) = match start(dyno).await {
        Ok(parts) => parts,
        Err(reason) => return Ending::not_started(reason),
    };
    dyno.set(State::Up, None, None).await;
    let Started { exit, lifeline, .. } = started;
    let session = attach::pipes(input, output, stream);
    tokio::select! {
        result = session => {
            // With its connection gone, or its output closed, there is nobody left to run for.
            if !matches!(result, Ok(attach::End::Output)) {
                drop(lifeline);
            }
        }
        () = asked(stop) => drop(lifeline),
    }
    let was_stopped = *stop.borrow();
    let mut exit_code = None;
    for report in reports(exit).await {
        match report {
            Report::OutOfMemory => dyno.say_out_of_memory(),
            Report::Exited { code, .. } => exit_code = Some(code),
            _ => {}
        }
    }
    Ending {
        was_stopped,
        exit_code,
        ran_us: crate::now_us().saturating_sub(started_us),
        ..Ending::default()
    }
}

async fn start(dyno: &Dyno) -> Result<(Started, pipe::Sender, pipe::Receiver), String> {
    let site = dyno
        .ctx
        .slugs
        .site(dyno.slot, &dyno.want.slug)
        .await
        .map_err(|error| chain(&error))?;
    let (input, inside_input, output, inside_output) =
        pipes().map_err(|error| error.to_string())?;
    let errors = inside_output
        .try_clone()
        .map_err(|error| error.to_string())?;
    let files = vec![inside_input, inside_output, errors];
    let way = dyno.way.as_ref().ok_or("no way was chosen")?;
    let (spec, secrets) = (
        command::spec(&dyno.want, &site, way),
        command::secrets(&dyno.want, dyno.port()),
    );
    let started = dyno
        .ctx
        .nursery
        .start(spec, secrets, files)
        .await
        .map_err(|error| chain(&error))?;
    Ok((started, input, output))
}

fn pipes() -> std::io::Result<(pipe::Sender, OwnedFd, pipe::Receiver, OwnedFd)> {
    let (input, inside_input) = pipe::pipe()?;
    let (inside_output, output) = pipe::pipe()?;
    Ok((
        input,
        inside_input.into_blocking_fd()?,
        output,
        inside_output.into_blocking_fd()?,
    ))
}

/// What the keeper said of the end.
async fn reports(exit: Option<OwnedFd>) -> Vec<Report> {
    let mut text = String::new();
    let Some(Ok(mut exit)) = exit.map(pipe::Receiver::from_owned_fd) else {
        return Vec::new();
    };
    if let Err(error) = (&mut exit).take(4096).read_to_string(&mut text).await {
        tracing::warn!(%error, "failed to read how a one-off ended");
    }
    text.lines().filter_map(status::parse).collect()
}
