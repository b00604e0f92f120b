//! What the control plane shows in the metrics. Each value is read when it is asked for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::state::State;
use crate::identity::Population;
use crate::keys::Standing;
use crate::limits::Limit;
use crate::moment::Moment;
use crate::telemetry::metrics::{Family, Kind};

/// A row: the values of the labels, and the number.
type Row = (Vec<String>, f64);

/// Adds every value of the control plane to the metrics.
pub(super) fn install(state: &Arc<State>) {
    install_reloads(state);
    install_keys(state);
    install_people(state);
    install_limits(state);
    install_upstream(state);
    add(state, "keygate_draining", "Whether clients are sent elsewhere.", Kind::Gauge, &[], |state| {
        vec![row(&[], u64::from(state.draining.load(Ordering::Relaxed)))]
    });
    install_certificates(state);
}

fn install_certificates(state: &Arc<State>) {
    for (name, help, of) in [
        (
            "keygate_certificate_start_timestamp_seconds",
            "When each certificate began to be valid, in seconds since the Unix epoch.",
            (|(start_s, _)| start_s) as fn((i64, i64)) -> i64,
        ),
        (
            "keygate_certificate_expiry_timestamp_seconds",
            "When each certificate expires, in seconds since the Unix epoch.",
            |(_, expiry_s)| expiry_s,
        ),
    ] {
        add(state, name, help, Kind::Gauge, &["certificate"], move |state| {
            // Of several with one name, that which ends first: two listening addresses can have the same.
            let mut first = BTreeMap::new();
            let stores = state.doors.iter().filter_map(|door| door.tls.as_ref());
            for (name, validity) in stores.flat_map(|tls| tls.validities()) {
                let known = first.entry(name).or_insert(validity);
                if validity.1 < known.1 {
                    *known = validity;
                }
            }
            first.into_iter().map(|(name, validity)| (vec![name], float(of(validity)))).collect()
        });
    }
}

fn install_reloads(state: &Arc<State>) {
    add(state, "keygate_reloads_total", "Reloads by part and result.", Kind::Counter, &["part", "result"], |state| {
        let rows = state.reloads.named().into_iter().flat_map(|(part, outcomes)| {
            [("ok", &outcomes.succeeded), ("failed", &outcomes.failed)]
                .map(|(result, count)| row(&[part, result], count.load(Ordering::Relaxed)))
        });
        rows.collect()
    });
    add(
        state,
        "keygate_reload_last_success_timestamp_seconds",
        "When each part was last loaded, in seconds since the Unix epoch.",
        Kind::Gauge,
        &["part"],
        |state| {
            let rows = state.reloads.named().into_iter();
            rows.map(|(part, outcomes)| row(&[part], outcomes.last_success_s.load(Ordering::Relaxed))).collect()
        },
    );
    add(
        state,
        "keygate_reload_failing",
        "Whether the files of a part cannot be loaded as they are now.",
        Kind::Gauge,
        &["part"],
        |state| {
            let rows = state.reloads.named().into_iter();
            rows.map(|(part, outcomes)| row(&[part], u64::from(outcomes.is_failing()))).collect()
        },
    );
}

fn install_keys(state: &Arc<State>) {
    add(state, "keygate_store_failing", "Whether the store of keys cannot be read.", Kind::Gauge, &[], |state| {
        state.vault.iter().map(|vault| row(&[], u64::from(vault.outcomes.is_failing()))).collect()
    });
    add(state, "keygate_keys", "Keys by state.", Kind::Gauge, &["state"], |state| {
        let counts = state.keys.count_by_state(Moment::now());
        Standing::ALL.iter().map(|standing| row(&[standing.name()], counts.of(*standing) as u64)).collect()
    });
    add(
        state,
        "keygate_oldest_key_age_seconds",
        "Age of the oldest active key of each environment.",
        Kind::Gauge,
        &["environment"],
        |state| {
            let oldest = state.keys.oldest_active_by_environment(Moment::now());
            oldest.into_iter().map(|(environment, age_s)| row(&[environment.as_deref().unwrap_or("")], age_s)).collect()
        },
    );
    add(
        state,
        "keygate_next_key_expiry_timestamp_seconds",
        "When the first active key of each environment expires that was not rotated, in seconds since the Unix epoch.",
        Kind::Gauge,
        &["environment"],
        |state| {
            let next = state.keys.next_expiry_by_environment(Moment::now());
            let label = |environment: Option<Arc<str>>| vec![environment.as_deref().unwrap_or("").to_owned()];
            next.into_iter().map(|(environment, expiry_s)| (label(environment), float(expiry_s))).collect()
        },
    );
}

fn install_people(state: &Arc<State>) {
    for (name, help, of) in [
        ("keygate_users", "Users of the store.", (|there| there.users) as fn(Population) -> usize),
        ("keygate_logins", "Logins of users that have not ended.", |there| there.logins),
        ("keygate_sessions", "Sessions of customers that have not ended.", |there| there.sessions),
    ] {
        add(state, name, help, Kind::Gauge, &[], move |state| {
            state.vault.iter().map(|vault| row(&[], of(vault.directory.population()) as u64)).collect()
        });
    }
}

fn install_limits(state: &Arc<State>) {
    for (name, help, kind, of) in [
        (
            "keygate_limit_buckets",
            "Subjects that a limit keeps count of.",
            Kind::Gauge,
            (|limit| limit.buckets() as u64) as fn(&Limit) -> u64,
        ),
        ("keygate_limit_buckets_max", "Subjects that a limit may keep count of.", Kind::Gauge, |limit| {
            limit.buckets_max() as u64
        }),
        (
            "keygate_limit_overflow_total",
            "Requests that shared one bucket because a limit kept count of as many subjects as it may.",
            Kind::Counter,
            Limit::overflowed,
        ),
        ("keygate_limit_refused_total", "Requests that a limit did not let pass.", Kind::Counter, Limit::refused),
    ] {
        add(state, name, help, kind, &["limit"], move |state| {
            let mut rows = Vec::new();
            state.limits.for_each(|limit| rows.push(row(&[limit.name()], of(limit))));
            rows
        });
    }
}

fn install_upstream(state: &Arc<State>) {
    add(
        state,
        "keygate_upstream_exposed",
        "Whether the upstream can be reached around the gateway, at the address of the pod.",
        Kind::Gauge,
        &["upstream"],
        |state| {
            let found = state.exposure.found().into_iter();
            found.map(|(upstream, exposed)| row(&[&upstream], u64::from(exposed))).collect()
        },
    );
    add(
        state,
        "keygate_upstream_connections",
        "Connections to the upstream that are open, used or not.",
        Kind::Gauge,
        &["upstream"],
        |state| {
            let upstreams = state.upstreams();
            let each = upstreams.iter().map(|upstream| (upstream, upstream.connections_open() as u64));
            each.map(|(upstream, count)| row(&[&upstream.settings().endpoint.to_string()], count)).collect()
        },
    );
    add(
        state,
        "keygate_upstream_connections_total",
        "Connections to the upstream that were opened.",
        Kind::Counter,
        &["upstream"],
        |state| {
            let upstreams = state.upstreams();
            let each = upstreams.iter().map(|upstream| (upstream, upstream.connections_opened()));
            each.map(|(upstream, count)| row(&[&upstream.settings().endpoint.to_string()], count)).collect()
        },
    );
}

/// Adds one family. The metrics outlive nothing: the reader holds the state only weakly, because the state holds them.
fn add(
    state: &Arc<State>,
    name: &'static str,
    help: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    read: impl Fn(&State) -> Vec<Row> + Send + Sync + 'static,
) {
    let weak = Arc::downgrade(state);
    let read = move || weak.upgrade().map(|state| read(&state)).unwrap_or_default();
    state.metrics.reader(Family { name, help, kind, labels }, read);
}

fn row(labels: &[&str], value: u64) -> Row {
    (labels.iter().map(|label| (*label).to_owned()).collect(), value as f64)
}

fn float(seconds: i64) -> f64 {
    seconds as f64
}
