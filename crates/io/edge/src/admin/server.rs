//! The server of the admin socket: one line in, one line out, for as many clients as ask.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    rc::Rc,
    time::Duration,
};

use hornero_model::{Term, Timestamp};
use tokio::{
    io::{AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    task::spawn_local,
};

use super::protocol::{
    AdminReply, AdminRequest, Greeting, Handover, RefusalCode, WAIT_LIMIT_MS, read_line,
};
use crate::{
    control::Control,
    error::{EdgeError, with_source},
    fault::{HandoverStep, pass},
    leaving::{Leave, Successor},
    takeover::send_sockets,
};

/// Pause after the system refused a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves clients, also once the edge leaves: whoever starts then may have to take over from it.
pub(crate) async fn serve(control: Rc<Control>, listener: UnixListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                spawn_local(serve_client(control.clone(), stream));
            }
            Err(error) => {
                tracing::warn!("can't accept on the admin socket: {error}");
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
    let mut client = AdminClient {
        // One that comes when the edge is leaving already looked for it.
        late: control.is_leaving(),
        stream: BufReader::new(stream),
        greeting: None,
        sockets: None,
        successor: None,
        control,
    };
    // Whoever breaks off is a client less.
    let _ = client.serve().await;
}

/// A client, and what it has become.
struct AdminClient {
    control: Rc<Control>,
    stream: BufReader<UnixStream>,
    /// Whether the edge was leaving when it came.
    late: bool,
    greeting: Option<Greeting>,
    /// The sockets that a successor is about to get.
    sockets: Option<Vec<OwnedFd>>,
    /// Once the edge has left to it.
    successor: Option<Successor>,
}

impl AdminClient {
    /// Answers until the client goes, or finds another edge at the same place.
    async fn serve(&mut self) -> io::Result<()> {
        let control = self.control.clone();
        loop {
            let stays = self.late || self.sockets.is_some();
            let line = tokio::select! {
                line = read_line(&mut self.stream) => line?,
                () = control.left(), if !stays => return Ok(()),
            };
            let Some(line) = line else { return Ok(()) };
            let reply = match serde_json::from_slice::<AdminRequest>(&line) {
                Ok(request) => tokio::select! {
                    reply = self.reply(request) => reply?,
                    () = control.left(), if !stays => return Ok(()),
                },
                Err(error) => {
                    Some(refused(RefusalCode::BadRequest, format!("malformed question: {error}")))
                }
            };
            if let Some(reply) = reply {
                send(self.stream.get_mut(), &reply).await?;
            }
        }
    }

    /// The answer; none where it was more than a line.
    async fn reply(&mut self, request: AdminRequest) -> io::Result<Option<AdminReply>> {
        let die_at = self.control.options.die_at;
        Ok(Some(match request {
            AdminRequest::Hello(greeting) => {
                self.greeting = Some(greeting);
                AdminReply::Identity(self.control.identity())
            }
            AdminRequest::Takeover if self.control.successors.get() > 0 => {
                refused(RefusalCode::HandedOver, "this edge has handed over already".to_owned())
            }
            AdminRequest::Takeover => {
                pass(die_at, HandoverStep::Asked);
                let (handover, kept) = hand_over(&self.control);
                self.sockets = Some(kept);
                AdminReply::Handover(handover)
            }
            AdminRequest::Sockets if self.sockets.is_some() => {
                let sockets = self.sockets.get_or_insert_default();
                let borrowed: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
                send_sockets(self.stream.get_mut(), &borrowed).await?;
                sockets.clear();
                pass(die_at, HandoverStep::Sockets);
                return Ok(None);
            }
            AdminRequest::Release if self.sockets.is_some() => self.release().await,
            AdminRequest::Status => AdminReply::Status(self.control.status()),
            _ if self.late && self.successor.is_none() => {
                refused(RefusalCode::HandedOver, "this edge only serves what is open".to_owned())
            }
            request => {
                // What a successor asks was let in there.
                let term = request.term().filter(|_| self.successor.is_none());
                answer(&self.control, request, term).await
            }
        }))
    }

    async fn release(&mut self) -> AdminReply {
        let control = &self.control;
        pass(control.options.die_at, HandoverStep::Releasing);
        let limit = self.greeting.as_ref().and_then(|greeting| greeting.handover_timeout_ms);
        if let Some(limit) = limit {
            control.handover_timeout.set(Duration::from_millis(limit));
        }
        let connections = control.connections();
        self.successor = Some(Successor::new(control));
        control.leave(Leave::HandedOver).await;
        pass(control.options.die_at, HandoverStep::Released);
        match &self.greeting {
            Some(greeting) => {
                tracing::warn!(
                    "hornero {} has taken over; {connections} connections are open here",
                    greeting.version
                );
                AdminReply::Released { connections }
            }
            None => AdminReply::Done,
        }
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

/// The answer to a question; what changes anything is refused where a newer control than that of `term` is obeyed.
async fn answer(control: &Rc<Control>, request: AdminRequest, term: Option<Term>) -> AdminReply {
    match request {
        AdminRequest::Obey { .. } => match control.obey(term).await {
            Ok(()) => AdminReply::Done,
            Err(error) => refused(code_of(&error), with_source(&error)),
        },
        AdminRequest::Apply { table, .. } => match control.apply(table, term).await {
            Ok(applied) => AdminReply::Applied(applied),
            Err(error) => refused(code_of(&error), with_source(&error)),
        },
        AdminRequest::Change { change, .. } => match control.change(change, term).await {
            Ok(applied) => AdminReply::Applied(applied),
            Err(error) => refused(code_of(&error), with_source(&error)),
        },
        AdminRequest::Prepare { table, .. } => match control.make_ready(table, term).await {
            Ok(generation) => AdminReply::Prepared { generation },
            Err(error) => refused(code_of(&error), with_source(&error)),
        },
        AdminRequest::Commit { generation, .. } => match control.commit(generation, term).await {
            Ok(applied) => AdminReply::Applied(applied),
            Err(error) => refused(code_of(&error), with_source(&error)),
        },
        AdminRequest::Status => AdminReply::Status(control.status()),
        AdminRequest::Calls => AdminReply::Calls(control.common.calls.read(Timestamp::now())),
        AdminRequest::Wait { after_version, timeout_ms } => {
            let timeout = Duration::from_millis(timeout_ms.min(WAIT_LIMIT_MS));
            let mut version = control.version.subscribe();
            let grown = version.wait_for(|version| *version > after_version);
            // Either way the status is told.
            let _ = tokio::time::timeout(timeout, grown).await;
            AdminReply::Status(control.status())
        }
        AdminRequest::Cut { service, release, generation, .. } => {
            match control.cut_under(service, release, generation, term).await {
                Ok(count) => AdminReply::Cut { count },
                Err(error) => refused(code_of(&error), with_source(&error)),
            }
        }
        AdminRequest::Stop { .. } => match control.obey(term).await {
            Ok(()) => {
                control.request_stop();
                AdminReply::Done
            }
            Err(error) => refused(code_of(&error), with_source(&error)),
        },
        AdminRequest::Hello(_)
        | AdminRequest::Takeover
        | AdminRequest::Sockets
        | AdminRequest::Release => {
            refused(RefusalCode::BadRequest, "only a successor asks this".to_owned())
        }
    }
}

fn code_of(error: &EdgeError) -> RefusalCode {
    match error {
        EdgeError::InvalidTable { .. } => RefusalCode::InvalidTable,
        EdgeError::StaleGeneration { .. } | EdgeError::OtherTable { .. } => {
            RefusalCode::StaleGeneration
        }
        EdgeError::NotPrepared { .. } => RefusalCode::NotPrepared,
        EdgeError::UnknownTable { .. } => RefusalCode::UnknownTable,
        EdgeError::TermOver(_) => RefusalCode::TermOver,
        EdgeError::Term(_) => RefusalCode::TermUnknown,
        EdgeError::Listen { .. } => RefusalCode::Listen,
        EdgeError::State { .. } | EdgeError::Runtime(_) => RefusalCode::NotPersisted,
        EdgeError::Takeover(_) | EdgeError::OtherProtocol { .. } => RefusalCode::HandedOver,
    }
}

/// Table and health, and duplicates of the sockets.
fn hand_over(control: &Control) -> (Handover, Vec<OwnedFd>) {
    let status = control.status();
    let (addresses, sockets) = control.listening.duplicates().into_iter().unzip();
    let handover = Handover {
        table: control.table().source.clone(),
        version: status.version,
        backends: status.backends,
        sockets: addresses,
    };
    (handover, sockets)
}
