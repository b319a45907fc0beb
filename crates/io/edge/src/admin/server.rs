//! The server of the admin socket: one line in, one line out, for as many clients as ask.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    rc::Rc,
    time::Duration,
};

use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    task::spawn_local,
};

use super::protocol::{AdminReply, AdminRequest, Handover, LINE_LIMIT, RefusalCode, WAIT_LIMIT_MS};
use crate::{
    control::{Control, Listening, with_source},
    error::EdgeError,
    takeover::send_sockets,
};

/// Pause after the system refused a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves clients until the edge leaves.
pub(crate) async fn serve(control: Rc<Control>, listener: UnixListener) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = control.left() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                spawn_local(serve_client(control.clone(), stream));
            }
            Err(error) => {
                eprintln!("edge: can't accept on the admin socket: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_client(control: Rc<Control>, stream: UnixStream) {
    let same_user = stream
        .peer_cred()
        .is_ok_and(|peer| peer.uid() == rustix::process::geteuid().as_raw() || peer.uid() == 0);
    if !same_user {
        return;
    }
    let mut stream = BufReader::new(stream);
    // The sockets that a successor is about to get.
    let mut successor: Option<Vec<OwnedFd>> = None;
    loop {
        let line = tokio::select! {
            line = read_line(&mut stream) => line,
            // Only the successor goes on being answered; others find it at the same place.
            () = control.left(), if successor.is_none() => return,
        };
        let Ok(Some(line)) = line else { return };
        let reply = match serde_json::from_slice::<AdminRequest>(&line) {
            Ok(AdminRequest::Takeover) if control.is_leaving() => {
                refused(RefusalCode::HandedOver, "this edge is leaving already".to_owned())
            }
            Ok(AdminRequest::Takeover) => {
                let (handover, kept) = hand_over(&control);
                successor = Some(kept);
                AdminReply::Handover(handover)
            }
            Ok(AdminRequest::Sockets) if successor.is_some() => {
                let sockets = successor.get_or_insert_default();
                let borrowed: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
                if send_sockets(stream.get_mut(), &borrowed).await.is_err() {
                    return;
                }
                sockets.clear();
                continue;
            }
            Ok(AdminRequest::Release) if successor.is_some() => {
                control.leave(false).await;
                AdminReply::Done
            }
            Ok(request) => tokio::select! {
                reply = answer(&control, request) => reply,
                () = control.left(), if successor.is_none() => return,
            },
            Err(error) => refused(RefusalCode::BadRequest, format!("malformed question: {error}")),
        };
        if send(stream.get_mut(), &reply).await.is_err() {
            return;
        }
    }
}

/// A line without its end; none at the end of the stream.
pub(crate) async fn read_line<R: AsyncBufRead + Unpin>(
    stream: &mut R,
) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    stream.take(LINE_LIMIT as u64).read_until(b'\n', &mut line).await?;
    match line.pop() {
        Some(b'\n') => Ok(Some(line)),
        Some(_) => Err(io::ErrorKind::InvalidData.into()),
        None => Ok(None),
    }
}

async fn send(stream: &mut UnixStream, reply: &AdminReply) -> io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    stream.write_all(&line).await
}

fn refused(code: RefusalCode, message: String) -> AdminReply {
    AdminReply::Refused { code, message }
}

async fn answer(control: &Rc<Control>, request: AdminRequest) -> AdminReply {
    match request {
        AdminRequest::Apply { table } => match control.apply(table, Listening::Required).await {
            Ok(applied) => AdminReply::Applied(applied),
            Err(error) => refused(code_of(&error), with_source(&error)),
        },
        AdminRequest::Status => AdminReply::Status(control.status()),
        AdminRequest::Wait { after_version, timeout_ms } => {
            let timeout = Duration::from_millis(timeout_ms.min(WAIT_LIMIT_MS));
            let mut version = control.version.subscribe();
            let grown = version.wait_for(|version| *version > after_version);
            // Either way the status is told.
            let _ = tokio::time::timeout(timeout, grown).await;
            AdminReply::Status(control.status())
        }
        AdminRequest::Cut { service, release } => {
            AdminReply::Cut { count: control.cut(service, release).await }
        }
        AdminRequest::Stop => {
            control.request_stop();
            AdminReply::Done
        }
        AdminRequest::Takeover | AdminRequest::Sockets | AdminRequest::Release => {
            refused(RefusalCode::BadRequest, "only a successor asks this".to_owned())
        }
    }
}

fn code_of(error: &EdgeError) -> RefusalCode {
    match error {
        EdgeError::InvalidTable { .. } | EdgeError::Tls { .. } => RefusalCode::InvalidTable,
        EdgeError::StaleGeneration { .. } => RefusalCode::StaleGeneration,
        EdgeError::Listen { .. } => RefusalCode::Listen,
        EdgeError::State { .. } | EdgeError::Runtime(_) => RefusalCode::NotPersisted,
        EdgeError::Takeover(_) => RefusalCode::HandedOver,
    }
}

/// Table and health, and duplicates of the sockets.
fn hand_over(control: &Control) -> (Handover, Vec<OwnedFd>) {
    let status = control.status();
    let (mut addresses, mut sockets) = (Vec::new(), Vec::new());
    for (address, of_address) in &*control.sockets.borrow() {
        // One that can't be duplicated is opened anew by the successor.
        for socket in of_address.iter().filter_map(|socket| socket.try_clone().ok()) {
            addresses.push(*address);
            sockets.push(socket);
        }
    }
    let handover = Handover {
        table: control.table().source.clone(),
        version: status.version,
        backends: status.backends,
        sockets: addresses,
    };
    (handover, sockets)
}
