//! What a request may hold, and what is said of what it may not.

use super::*;
use crate::limits;
use pb::{JobType, RefusalCode, client_request::Body};

const ID: Option<pb::RequestId> = Some(pb::RequestId { session: 1, sequence: 2, lowest_open: 1 });

fn parse(body: Body) -> Result<Option<(Option<RequestId>, Command)>, pb::Refusal> {
    Command::from_request(&pb::ClientRequest { body: Some(body) }, &LeaseTimes::default())
}

fn refused(body: Body) -> String {
    let refusal = parse(body).unwrap_err();
    assert_eq!(refusal.code(), RefusalCode::Invalid);
    refusal.message
}

fn put(key: impl Into<Bytes>, size: usize, request_id: Option<pb::RequestId>) -> Body {
    Body::Put(pb::PutRequest { request_id, key: key.into(), value: vec![0; size].into() })
}

fn submit(id: &str, change: impl FnOnce(&mut pb::JobSpecification)) -> Body {
    let mut specification = pb::JobSpecification {
        r#type: JobType::Batch as i32,
        argv: vec!["true".into()],
        ..Default::default()
    };
    change(&mut specification);
    Body::SubmitJob(pb::SubmitJobRequest {
        request_id: ID,
        id: id.into(),
        specification: Some(specification),
    })
}

fn specification(body: Body) -> pb::JobSpecification {
    match parse(body) {
        Ok(Some((_, Command::SubmitJob { specification, .. }))) => specification,
        other => panic!("{other:?}"),
    }
}

fn register(change: impl FnOnce(&mut pb::RegisterExecutorRequest)) -> Body {
    let mut request = pb::RegisterExecutorRequest {
        request_id: ID,
        name: "box".into(),
        address: "[::1]:80".into(),
        slots: 1,
        incarnation: 1,
        labels: Vec::new(),
        ..Default::default()
    };
    change(&mut request);
    Body::RegisterExecutor(request)
}

fn pair(name: &str, value: &str) -> pb::Pair {
    pb::Pair { name: name.into(), value: value.into() }
}

#[test]
fn request_ids_are_checked() {
    let id = |session, sequence, lowest_open| Some(pb::RequestId { session, sequence, lowest_open });
    assert!(refused(put("k", 1, None)).starts_with("request_id is missing"));
    assert!(refused(put("k", 1, id(0, 1, 1))).starts_with("request_id.session is 0: "));
    assert!(refused(put("k", 1, id(1, 0, 0))).starts_with("request_id.sequence is 0: "));
    assert!(refused(put("k", 1, id(1, 2, 3))).starts_with("request_id.lowest_open is 3: "));
    let (request, command) = parse(put("k", 1, ID)).unwrap().unwrap();
    assert_eq!(request, Some(RequestId { session: SessionId(1), sequence: 2, lowest_open: 1 }));
    assert!(command.needs_request());
}

#[test]
fn keys_and_values_are_bounded_and_quorates_own_are_its_own() {
    assert!(refused(put("", 1, ID)).starts_with("key has 0 bytes: it must have 1 to 4096"));
    assert!(refused(put(vec![0; limits::KEY_BYTES + 1], 1, ID)).starts_with("key has 4097 bytes"));
    assert!(refused(put("k", limits::VALUE_BYTES + 1, ID)).starts_with("value has 1048577 bytes"));
    assert!(refused(put("/_frame/jobs/x", 1, ID)).starts_with("key begins with /_frame/"));
    parse(put(vec![0; limits::KEY_BYTES], limits::VALUE_BYTES, ID)).unwrap();
    let key = Bytes::from("/_frame/x");
    refused(Body::Delete(pb::DeleteRequest { request_id: ID, key }));
    let cas = pb::CompareAndSetRequest { request_id: ID, key: Bytes::from("k"), ..Default::default() };
    assert!(refused(Body::CompareAndSet(cas)).starts_with("expected is missing"));
}

#[test]
fn defaults_are_written_out() {
    let it = specification(submit("", |_| {}));
    assert_eq!(
        (it.tasks, it.slots_per_task, it.stop_timeout_ms, it.output_limit_bytes),
        (1, 1, 5_000, 1 << 20)
    );
    let batch = pb::RetryPolicy {
        max_failures: 3,
        backoff_initial_ms: 1_000,
        backoff_max_ms: 60_000,
        backoff_growth_percent: 200,
        reset_after_ms: 600_000,
    };
    assert_eq!(it.retry, Some(batch));
    let service = specification(submit("", |it| it.set_type(JobType::Service)));
    assert_eq!(service.retry.unwrap().max_failures, 0);
    // What is already normal stays as it is.
    assert_eq!(specification(submit("", |given| *given = it.clone())), it);
    let long = pb::RetryPolicy { backoff_initial_ms: 120_000, ..Default::default() };
    assert_eq!(specification(submit("", |it| it.retry = Some(long))).retry.unwrap().backoff_max_ms, 120_000);
}

#[test]
fn environments_are_sorted_and_hold_each_name_once() {
    let it = specification(submit("", |it| it.environment = vec![pair("b", "1"), pair("a", "2")]));
    assert_eq!(it.environment, [pair("a", "2"), pair("b", "1")]);
    let twice = refused(submit("", |it| it.environment = vec![pair("a", "1"), pair("a", "2")]));
    assert!(twice.contains("environment: a is there twice"));
    assert!(
        refused(submit("", |it| it.environment = vec![pair("", "1")]))
            .contains("environment: a name is \"\"")
    );
    assert!(refused(submit("", |it| it.environment = vec![pair("a=b", "1")])).contains("\"a=b\""));
}

#[test]
fn a_job_that_cannot_be_run_is_refused_by_field_and_value() {
    let policy = |change: fn(&mut pb::RetryPolicy)| {
        submit("", |it| {
            let mut retry = pb::RetryPolicy::default();
            change(&mut retry);
            it.retry = Some(retry);
        })
    };
    let cases = [
        (submit("", |it| it.argv.clear()), "argv is empty: "),
        (submit("", |it| it.argv = vec![String::new()]), "argv is empty: "),
        (submit("", |it| it.argv = vec!["x".into(); 257]), "argv has 257 arguments: 256"),
        (submit("", |it| it.argv.push("x".repeat(70_000))), "argv has 70004 bytes: 65536"),
        (submit("", |it| it.argv.push("a\0b".into())), "argv[1] holds a NUL"),
        (submit("", |it| it.tasks = 10_001), "tasks is 10001: it must be 1 to 10000"),
        (submit("", |it| it.slots_per_task = 1_001), "slots_per_task is 1001: "),
        (submit("", |it| it.r#type = 0), "type is 0: it must be 1 (batch) or 2 (service)"),
        (submit("", |it| it.r#type = 9), "type is 9: "),
        (submit("", |it| it.stop_timeout_ms = 300_001), "stop_timeout_ms is 300001: "),
        (submit("", |it| it.output_limit_bytes = 1 << 25), "output_limit_bytes is 33554432: "),
        (submit("", |it| it.working_directory = "d".repeat(5_000)), "working_directory has 5000 bytes"),
        (submit("a/b", |_| {}), "id is \"a/b\": it must have 1 to 63 letters"),
        (submit(&"a".repeat(64), |_| {}), "id is \"aaaa"),
        (policy(|it| it.max_failures = 1_000_001), "retry.max_failures is 1000001: "),
        (
            policy(|it| it.backoff_growth_percent = 99),
            "retry.backoff_growth_percent is 99: it must be 100 to 1000",
        ),
        (policy(|it| it.backoff_initial_ms = 3_600_001), "retry.backoff_initial_ms is 3600001: "),
        (policy(|it| it.backoff_max_ms = 5), "retry.backoff_max_ms is 5: it must be at least"),
    ];
    for (body, message) in cases {
        let said = refused(body);
        assert!(said.starts_with(message), "{said}");
    }
    let missing = pb::SubmitJobRequest { request_id: ID, ..Default::default() };
    assert!(refused(Body::SubmitJob(missing)).starts_with("specification is missing"));
}

#[test]
fn executors_are_checked_and_get_the_lease_of_the_configuration() {
    let (_, command) = parse(register(|_| {})).unwrap().unwrap();
    let Command::RegisterExecutor { request, ttl_ms, grace_ms } = command else { panic!() };
    assert_eq!((request.request_id, ttl_ms, grace_ms), (None, 5_000, 2_000));
    let cases = [
        (register(|it| it.name.clear()), "name has 0 characters: "),
        (register(|it| it.name = "n".repeat(64)), "name has 64 characters: "),
        (register(|it| it.address = "host".into()), "address is \"host\": it must be host:port"),
        (register(|it| it.address = ":1".into()), "address is \":1\": "),
        (register(|it| it.address = "host:70000".into()), "address is \"host:70000\": "),
        (register(|it| it.slots = 0), "slots is 0: it must be 1 to 1000"),
        (register(|it| it.slots = 1_001), "slots is 1001: "),
        (register(|it| it.incarnation = 0), "incarnation is 0: "),
        (register(|it| it.labels = vec![pair("", "")]), "labels: a name is"),
    ];
    for (body, message) in cases {
        let said = refused(body);
        assert!(said.starts_with(message), "{said}");
    }
}

#[test]
fn times_have_ranges_and_defaults() {
    let session = |ttl_ms| parse(Body::OpenSession(pb::OpenSessionRequest { ttl_ms }));
    assert_eq!(session(0), Ok(Some((None, Command::OpenSession { ttl_ms: 60_000 }))));
    assert!(session(999).unwrap_err().message.starts_with("ttl_ms is 999: it must be 1000 to 3600000"));
    let cancel = |timeout_ms| {
        parse(Body::CancelJob(pb::CancelJobRequest { request_id: ID, id: "j".into(), timeout_ms }))
    };
    let Ok(Some((_, Command::CancelJob { timeout_ms, .. }))) = cancel(0) else { panic!() };
    assert_eq!(timeout_ms, 10_000);
    assert!(cancel(3_600_001).unwrap_err().message.starts_with("timeout_ms is 3600001: "));
}

#[test]
fn requests_that_read_are_no_commands_and_empty_ones_are_refused() {
    assert_eq!(parse(Body::Get(pb::GetRequest::default())), Ok(None));
    assert_eq!(parse(Body::KeepSession(pb::KeepSessionRequest::default())), Ok(None));
    let empty = Command::from_request(&pb::ClientRequest { body: None }, &LeaseTimes::default());
    assert!(empty.unwrap_err().message.starts_with("body is missing"));
    let large = "x".repeat(limits::REQUEST_BYTES);
    assert!(refused(submit("", |it| it.working_directory = large)).starts_with("request has"));
}
