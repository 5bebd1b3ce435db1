//! Whoever collects spans (crate `tracing`) can follow a refresh from its caller to the provider, and finds no token in them.

mod support;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use refresh_coordinator::{Config, Refresh, RefreshCoordinator};
use support::logged::listen;
use support::provider::{Provider, rotated};
use support::wait::until;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Instrument, Subscriber, debug_span, info_span};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

/// A span as it was made, with what was recorded later.
#[derive(Clone, Debug)]
struct Seen {
    id: u64,
    parent: Option<u64>,
    name: &'static str,
    fields: BTreeMap<&'static str, String>,
}

#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Seen>>>);

struct Fields<'a>(&'a mut BTreeMap<&'static str, String>);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}").trim_matches('"').to_owned());
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Collector {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = BTreeMap::new();
        attributes.record(&mut Fields(&mut fields));
        let parent = context.span(id).and_then(|span| span.parent()).map(|parent| parent.id().into_u64());
        let name = attributes.metadata().name();
        self.0.lock().expect("no panic").push(Seen { id: id.into_u64(), parent, name, fields });
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        let mut all = self.0.lock().expect("no panic");
        // The last: a number is given again when its span is over.
        let seen = all.iter_mut().rev().find(|seen| seen.id == id.into_u64()).expect("it was made");
        values.record(&mut Fields(&mut seen.fields));
    }
}

impl Collector {
    fn all(&self) -> Vec<Seen> {
        self.0.lock().expect("no panic").clone()
    }

    fn called(&self, name: &str) -> Seen {
        self.all().into_iter().find(|seen| seen.name == name).unwrap_or_else(|| panic!("no {name}: {:#?}", self.all()))
    }

    /// Its name, that of the span around it, and so on.
    fn way_out(&self, of: &Seen) -> Vec<&'static str> {
        let mut way = vec![of.name];
        let mut parent = of.parent;
        while let Some(around) = parent.and_then(|id| self.all().into_iter().find(|seen| seen.id == id)) {
            way.push(around.name);
            parent = around.parent;
        }
        way
    }
}

/// `printf %s hush | sha256sum`, as logs name its flight.
const NAME: &str = "dc8331bcb2283e89d275a1c2fe66f7bf5ac3163ec1967f149dd7e27906365f0c";

#[tokio::test]
async fn span_of_the_call_leads_back_to_the_callers_and_that_of_a_joiner_names_the_flight() {
    let collector = Collector::default();
    let _of_this_thread = listen(tracing_subscriber::registry().with(collector.clone()));
    let config = Config::default().with_namespace("spanned");
    let pod = RefreshCoordinator::in_memory(config).expect("possible settings");
    let provider = Provider::held();
    let ask = |around| {
        let (pod, sending) = (pod.clone(), provider.refresh("hush"));
        let call = |attempt| async move { sending(attempt).instrument(debug_span!("sending")).await };
        tokio::spawn(async move { pod.refresh(Refresh::new("hush"), call).await }.instrument(around))
    };

    let leader = ask(info_span!("handler"));
    provider.asked(1).await;
    let joiner = ask(info_span!("other_handler"));
    until("it has joined", async || pod.metrics().joined_here == 1).await;
    provider.release(1);
    let told = leader.await.expect("no panic").expect("tokens");
    joiner.await.expect("no panic").expect("tokens");

    assert_eq!(told.tokens().refresh_token(), rotated("hush").refresh_token());
    let sending = collector.called("sending");
    assert_eq!(collector.way_out(&sending), ["sending", "provider_call", "flight", "refresh", "handler"]);
    let flight = collector.called("flight");
    assert_eq!((&flight.fields["namespace"][..], &flight.fields["pod"][..]), ("spanned", pod.pod()));
    assert_eq!(flight.fields["flight"], NAME);
    let callers: Vec<_> = collector.all().into_iter().filter(|seen| seen.name == "refresh").collect();
    assert_eq!(callers.len(), 2, "{callers:#?}");
    assert_eq!(collector.way_out(&callers[1]), ["refresh", "other_handler"]);
    for caller in &callers {
        assert_eq!(caller.fields["flight"], flight.fields["flight"], "{caller:?}");
    }
    assert_eq!(callers[0].fields["session"], flight.fields["session"]);
    let all = format!("{:?}", collector.all());
    assert!(!all.contains("hush"), "{all}");
}

#[tokio::test]
async fn whoever_asks_for_info_collects_no_span() {
    let collector = Collector::default();
    let info = tracing_subscriber::filter::LevelFilter::INFO;
    let _of_this_thread = listen(tracing_subscriber::registry().with(collector.clone().with_filter(info)));
    let pod = RefreshCoordinator::in_memory(Config::default()).expect("possible settings");

    let call = |_| async { Ok(rotated("hush")) };
    pod.refresh(Refresh::new("hush"), call).await.expect("tokens");

    assert!(collector.all().is_empty(), "{:?}", collector.all());
}
