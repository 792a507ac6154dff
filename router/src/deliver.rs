//! A response on its way to the client: its head stripped, its body relayed, or a tunnel begun.

use crate::activity::Turn;
use crate::body::ResponseBody;
use crate::exchange::{Answered, Visit};
use crate::ledger::{Ledger, Record};
use crate::tunnel::Tunnel;
use crate::{headers, rules};
use http::{HeaderValue, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use std::rc::Rc;
use std::time::Duration;

/// The response's head goes to the client; its body follows, or a tunnel begins.
pub(crate) fn pass_on(
    visit: Visit<'_>,
    answered: Answered,
    mut record: Record,
    turn: Turn,
) -> Response<ResponseBody> {
    let Answered {
        response,
        wire,
        using,
    } = answered;
    record.state.status = Some(response.status());
    let ledger = Ledger {
        flow: Rc::clone(&visit.flow),
        is_persistent: is_persistent(&response),
        record: Some(record),
        wire: Some(wire),
        using: Some(using),
    };
    let idle = Some(visit.conn.worker.shared.timers.idle);
    relay(visit, response, ledger, Delivery { idle, turn })
}

/// How an answer is carried.
pub(crate) struct Delivery {
    /// How long it may be silent.
    pub(crate) idle: Option<Duration>,
    /// The request's turn on the client's connection.
    pub(crate) turn: Turn,
}

/// Makes the client's response of a dyno's or role's.
pub(crate) fn relay(
    visit: Visit<'_>,
    mut response: Response<Incoming>,
    mut ledger: Ledger,
    delivery: Delivery,
) -> Response<ResponseBody> {
    let dyno_upgrade = hyper::upgrade::on(&mut response);
    let (head, incoming) = response.into_parts();
    let mut fields = head.headers;
    let protocol = fields.get(header::UPGRADE).cloned();
    headers::to_client(&mut fields, has_no_length(head.status));
    let switches = head.status == StatusCode::SWITCHING_PROTOCOLS;
    let Delivery { idle, turn } = delivery;
    let body = if let (true, Some(client)) = (switches, visit.upgrade) {
        if let Some(wire) = &ledger.wire {
            wire.switch();
        }
        fields.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        if let Some(protocol) = protocol {
            fields.insert(header::UPGRADE, protocol);
        }
        visit.conn.tunnel.replace(Some(Tunnel {
            client,
            dyno: dyno_upgrade,
            ledger,
            idle,
        }));
        ResponseBody::page("", turn)
    } else {
        if !visit.flow.was_sent() {
            // What is left of its body must not become the next request (docs/router.md, 190).
            fields.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        let says_length = fields.contains_key(header::CONTENT_LENGTH);
        if head.status == StatusCode::NOT_MODIFIED && says_length {
            ledger.close(Ok(()));
            ResponseBody::withheld(turn)
        } else {
            ResponseBody::relay(incoming, ledger, idle, turn)
        }
    };
    let mut answer = Response::new(body);
    *answer.status_mut() = head.status;
    *answer.headers_mut() = fields;
    if let Some(reason) = head.extensions.get::<ReasonPhrase>() {
        answer.extensions_mut().insert(reason.clone());
    }
    answer
}

/// Whether a dyno's connection lives on after this response.
fn is_persistent(response: &Response<Incoming>) -> bool {
    let mut tokens = response
        .headers()
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| rules::tokens(value.as_bytes()));
    response.version() == Version::HTTP_11
        && !tokens.any(|token| token.eq_ignore_ascii_case(b"close"))
}

/// Statuses that never say a length.
fn has_no_length(status: StatusCode) -> bool {
    status == StatusCode::NO_CONTENT || status.is_informational()
}
