//! What must hold: of one case what it says, and of everything that arrives what nobody may say otherwise.

use std::net::Ipv4Addr;

use crate::book::{Arrival, Case, Protocol};
use crate::http2;
use crate::paths::{Demand, demands};
use crate::recorder::Arrived;
use crate::world::{Ending, Seen};

/// Fields that the gateway writes. They are looked at by their own rules, and need not be named by a case.
const WRITTEN: &[&str] = &[
    "host",
    "via",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-request-id",
    "traceparent",
    "x-auth-key",
    "x-auth-user",
    "x_auth_tenant",
    "x-keygate-permissions",
    "content-length",
    "transfer-encoding",
];

/// Holds what was seen of a case against what must be.
pub(crate) fn judge(case: &Case, seen: &Seen) -> Result<(), String> {
    answers(case, seen)?;
    for arrived in &seen.arrived {
        sound(arrived, seen.from).map_err(|fault| format!("arrived and must not: {fault}"))?;
    }
    let (whole, parts): (Vec<_>, Vec<_>) = seen.arrived.iter().partition(|arrived| arrived.complete);
    if !parts.is_empty() && !case.want.cut {
        return Err("a part of a request arrived".to_owned());
    }
    if whole.len() != case.want.arrivals.len() {
        return Err(format!("{} requests arrived in place of {}", whole.len(), case.want.arrivals.len()));
    }
    for (want, arrived) in case.want.arrivals.iter().zip(whole) {
        same(want, arrived)?;
        named(seen, arrived, case.over)?;
    }
    if !seen.others_served {
        return Err("the request of somebody else right after it was not served".to_owned());
    }
    Ok(())
}

fn answers(case: &Case, seen: &Seen) -> Result<(), String> {
    let statuses: Vec<_> = seen.answers.iter().map(|answer| answer.status).collect();
    let as_wanted = statuses.len() == case.want.answers.len()
        && statuses.iter().zip(&case.want.answers).all(|(status, wanted)| wanted.contains(status));
    // RFC 9113, section 8.1.1: what is not well-formed is a stream error of this code.
    let refused = matches!(seen.ending, Ending::Reset(code) if http2::is_refusal(code)) && statuses.is_empty();
    let refusal_wanted = case.want.answers.first().is_some_and(|wanted| wanted.contains(&400));
    let as_good = case.over == Protocol::Http2 && refused && refusal_wanted;
    if !as_wanted && !as_good {
        return Err(format!("answered {statuses:?} ({:?}) in place of {:?}", seen.ending, case.want.answers));
    }
    if case.want.closed && case.over == Protocol::Http1 && seen.ending != Ending::Closed {
        return Err("the connection stays open".to_owned());
    }
    Ok(())
}

/// What holds for everything that arrives.
fn sound(arrived: &Arrived, from: Ipv4Addr) -> Result<(), String> {
    if let Some(fault) = &arrived.fault {
        return Err(fault.clone());
    }
    let line = arrived.line();
    for gone in [
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "upgrade",
        "expect",
        "x-api-key",
        "http2-settings",
    ] {
        if !arrived.values(gone).is_empty() {
            return Err(format!("{gone} with {line}"));
        }
    }
    if arrived.values("transfer-encoding").iter().any(|coding| coding != "chunked") {
        return Err(format!("a coding in a spelling of the client's with {line}"));
    }
    let head = String::from_utf8_lossy(&arrived.head).to_lowercase();
    for word in ["evil", "smuggled"] {
        if head.contains(word) || arrived.trailers.iter().any(|trailer| trailer.to_lowercase().contains(word)) {
            return Err(format!("`{word}` with {line}"));
        }
    }
    for (name, _) in arrived.fields() {
        let disguise = name.replace('_', "-");
        if name != disguise
            && name != "x_auth_tenant"
            && WRITTEN.iter().any(|written| written.replace('_', "-") == disguise)
        {
            return Err(format!("{name}, which a server could take for ours, with {line}"));
        }
    }
    for (name, value) in [("x-forwarded-for", from.to_string().as_str()), ("x-forwarded-proto", "http")] {
        if arrived.values(name) != [value] {
            return Err(format!("{name} is {:?}", arrived.values(name)));
        }
    }
    let user = arrived.values("x-auth-user");
    let tenant = arrived.values("x_auth_tenant");
    let most = demands(&arrived.target());
    let allowed = match (most, &user[..]) {
        (Demand::Nothing, _) => true,
        (Demand::Key, [user]) => user == "u-items" || user == "u-admin",
        (Demand::Admin, [user]) => user == "u-admin",
        (Demand::Key | Demand::Admin, _) => false,
    };
    if !allowed || tenant.len() != user.len() || tenant.iter().any(|tenant| tenant != "acme") {
        return Err(format!("{line}, which demands {most:?}, for {user:?} of {tenant:?}"));
    }
    Ok(())
}

/// Holds what arrived against what the case says must.
fn same(want: &Arrival, arrived: &Arrived) -> Result<(), String> {
    if arrived.line() != want.line {
        return Err(format!("{} arrived in place of {}", arrived.line(), want.line));
    }
    let names: std::collections::BTreeSet<_> = want.fields.iter().map(|(name, _)| name.clone()).collect();
    for name in names {
        let wanted: Vec<_> =
            want.fields.iter().filter(|(field, _)| *field == name).map(|(_, value)| value.clone()).collect();
        if arrived.values(&name) != wanted {
            return Err(format!("{name} is {:?} in place of {wanted:?}", arrived.values(&name)));
        }
    }
    for (name, _) in arrived.fields() {
        if !WRITTEN.contains(&name.as_str()) && !want.fields.iter().any(|(field, _)| *field == name) {
            return Err(format!("the field {name} arrived"));
        }
    }
    if arrived.content != want.content {
        return Err(format!("the content is {}", arrived.content.escape_ascii()));
    }
    if !arrived.trailers.is_empty() {
        return Err(format!("trailers arrived: {:?}", arrived.trailers));
    }
    Ok(())
}

/// What arrives was seen by the gateway: it bears the name that one of the answers bears.
fn named(seen: &Seen, arrived: &Arrived, over: Protocol) -> Result<(), String> {
    let name = arrived.values("x-request-id");
    let known = over == Protocol::Http2 || seen.answers.iter().any(|answer| answer.request_id.as_ref() == name.first());
    if name.len() == 1 && known { Ok(()) } else { Err(format!("what arrived is called {name:?}, and no answer is")) }
}
