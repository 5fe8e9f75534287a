use super::*;
use quorate_core::command::Command;
use quorate_proto::v1 as pb;

#[test]
fn a_plan_survives_json_and_depends_on_the_seed_alone() {
    for seed in 0..50 {
        let plan = generate(seed, &Limits::default());
        let text = serde_json::to_string_pretty(&plan).unwrap();
        assert_eq!(plan, Plan::read(&text).unwrap());
        assert_eq!(plan, generate(seed, &Limits::default()));
    }
    assert_ne!(generate(1, &Limits::default()).faults, generate(2, &Limits::default()).faults);
}

#[test]
fn every_plan_is_valid_and_within_the_promised_drift() {
    let mut kinds = std::collections::BTreeSet::new();
    for seed in 0..3_000 {
        let plan = generate(seed, &Limits::default());
        plan.validate().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        kinds.extend(plan.faults.iter().map(|fault| fault.kind.name()));
    }
    assert_eq!(kinds, FaultKind::NAMES.iter().copied().collect());
}

#[test]
fn plans_of_the_longest_duration_are_valid() {
    let limits = Limits { duration_min_ms: 3_600_000, duration_max_ms: 3_600_000, faults: true };
    for seed in 0..24 {
        let plan = generate(seed, &limits);
        plan.validate().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
}

#[test]
fn plans_are_swarms_with_each_kind_in_some_and_out_of_others() {
    let mut with = std::collections::BTreeMap::<&str, usize>::new();
    let all = 1_000;
    for seed in 0..all {
        let plan = generate(seed as u64, &Limits::default());
        let kinds: std::collections::BTreeSet<_> =
            plan.faults.iter().map(|fault| fault.kind.name()).collect();
        for kind in kinds {
            *with.entry(kind).or_default() += 1;
        }
    }
    for (kind, count) in with {
        assert!((10..all * 6 / 10).contains(&count), "{kind} is in {count} of {all} plans");
    }
}

#[test]
fn without_faults_nothing_is_broken() {
    let plan = generate(5, &Limits { faults: false, ..Limits::default() });
    assert!(plan.faults.is_empty() && plan.left_out.is_empty());
    assert_eq!((plan.network.loss_ppm, plan.network.tail_ppm, plan.network.reorder_ppm), (0, 0, 0));
}

/// A small plan with one fault.
fn with(kind: FaultKind) -> Plan {
    let mut plan = generate(3, &Limits::default());
    plan.faults = vec![Fault { at_ms: 100, for_ms: 100, kind }];
    plan
}

/// A small plan with one operation.
fn asking(operation: Operation) -> Plan {
    let mut plan = with(FaultKind::Ring {});
    plan.clients[0].operations = vec![PlannedOperation { at_ms: 1, operation }];
    plan
}

fn loud(message_bytes: u64) -> JobPlan {
    JobPlan { seldom: SeldomPlan { message_bytes, ..SeldomPlan::default() }, ..JobPlan::default() }
}

#[test]
fn every_way_to_be_wrong_and_every_scene_is_in_some_plan() {
    let mut found = std::collections::BTreeSet::new();
    for seed in 0..2_000 {
        let plan = generate(seed, &Limits::default());
        found.extend((plan.network.call_ppm > 0).then(|| "late calls".to_owned()));
        found.extend((plan.executors.session_ms > 0).then(|| "short sessions".to_owned()));
        found.extend((plan.executors.slots > 20).then(|| "wide".to_owned()));
        for client in &plan.clients {
            assert!(client.operations.is_sorted_by_key(|planned| planned.at_ms), "seed {seed}");
            found.extend(client.hoards.then(|| "hoards".to_owned()));
            found.extend(client.operations.iter().filter_map(|planned| match &planned.operation {
                Operation::Invalid { which } => Some(format!("{which:?}")),
                Operation::PutLarge { key, .. } if key.starts_with("crowd") => Some("crowd".to_owned()),
                Operation::PutLarge { .. } => Some("large".to_owned()),
                Operation::ListPage { .. } => Some("page".to_owned()),
                Operation::SubmitAhead { .. } => Some("made id".to_owned()),
                Operation::RaiseAlarm { .. } => Some("alarm".to_owned()),
                Operation::DisarmAlarm { .. } => Some("room again".to_owned()),
                Operation::Submit { job } if job.seldom != SeldomPlan::default() => Some("mood".to_owned()),
                _ => None,
            }));
        }
    }
    let scenes = [
        "late calls",
        "short sessions",
        "wide",
        "crowd",
        "hoards",
        "large",
        "page",
        "made id",
        "mood",
        "alarm",
        "room again",
    ];
    let all = scenes.map(str::to_owned).into_iter().chain(Wrong::ALL.map(|which| format!("{which:?}")));
    assert_eq!(found, all.collect());
}

#[test]
fn a_plan_that_was_edited_by_hand_is_refused_with_field_value_and_what_is_right() {
    let cases: Vec<(Plan, &str)> = vec![
        (with(FaultKind::Crash { master: 9 }), "faults[0].master is 9: it must be 0 to"),
        (with(FaultKind::Cut { side: vec![] }), "faults[0].side is []: it must be a list of at least 1"),
        (with(FaultKind::Cut { side: vec![0, 0] }), "faults[0].side[1] is 0: it must be named only once"),
        (with(FaultKind::Flap { side: vec![0], period_ms: 0 }), "faults[0].period_ms is 0: it must be 1 to"),
        (with(FaultKind::Loss { ppm: 2_000_000 }), "faults[0].ppm is 2000000: it must be 0 to 1000000"),
        (with(FaultKind::AgentCrash { executor: 77 }), "faults[0].executor is 77"),
        (
            with(FaultKind::Point { master: 0, point: "no-such".to_owned(), one_in: 3 }),
            "faults[0].point is \"no-such\": it must be one of append-one, ",
        ),
        (
            with(FaultKind::Point { master: 0, point: "append-one".to_owned(), one_in: 0 }),
            "faults[0].one_in is 0: it must be 1 to 1000000",
        ),
        (
            with(FaultKind::Point { master: 99, point: "append-one".to_owned(), one_in: 2 }),
            "faults[0].master is 99",
        ),
        (
            with(FaultKind::Point { master: 0, point: "hash-wrong".to_owned(), one_in: 1 }),
            "faults[0].point is \"hash-wrong\": it must be one of append-one, ",
        ),
        (with(FaultKind::WrongState { master: 99 }), "faults[0].master is 99: it must be 0 to"),
        (asking(Operation::RaiseAlarm { master: 99 }), "operations[0].master is 99: it must be 0 to"),
        (asking(Operation::DisarmAlarm { master: Some(99) }), "operations[0].master is 99: it must be 0 to"),
        (with(FaultKind::ClientStall { client: 77 }), "faults[0].client is 77"),
        (
            with(FaultKind::MasterDrift { master: 0, ppb: 900_000_000 }),
            "faults[0].ppb is 900000000: it must be -",
        ),
        (
            Plan { core: Some(CorePlan { masters: vec![], executors: vec![] }), ..with(FaultKind::Ring {}) },
            "core.masters is []",
        ),
        (Plan { left_out: vec![8], ..with(FaultKind::Ring {}) }, "left_out[0] is 8"),
        (
            Plan { recovery: Some(RecoveryPlan { master: 9, snapshot: false }), ..with(FaultKind::Ring {}) },
            "recovery.master is 9",
        ),
        (Plan { duration_ms: 0, ..with(FaultKind::Ring {}) }, "duration_ms is 0: it must be 1 to 3600000"),
        (
            asking(Operation::PutLarge { key: "k".into(), kib: 0 }),
            "operations[0].kib is 0: it must be 1 to 1024",
        ),
        (
            asking(Operation::ListPage { prefix: String::new(), limit: 0 }),
            "operations[0].limit is 0: it must be 1 to 1000",
        ),
        (
            asking(Operation::SubmitAhead { entries: 2, job: loud(1_000_000) }),
            "operations[0].job.seldom.message_bytes is 1000000: it must be 0 to 65536",
        ),
        (
            Plan {
                disk: DiskPlan { sync_min_us: 9, sync_max_us: 3, load_us: 0 },
                ..with(FaultKind::Ring {})
            },
            "disk.sync_min_us is 9: it must be 0 to 3",
        ),
    ];
    for (plan, says) in cases {
        let text = serde_json::to_string(&plan).unwrap();
        let error = Plan::read(&text).unwrap_err().to_string();
        assert!(error.contains(says), "{error:?} does not say {says:?}");
    }
    let mut plan = with(FaultKind::Ring {});
    plan.masters.flow = vec![FlowPlan { append_entries: 0, ..FlowPlan::default() }];
    let error = plan.validate().unwrap_err().to_string();
    assert!(
        error.starts_with("masters.flow[0] is flow.append_entries is 0: it must be 1 to 1024"),
        "{error}"
    );
    plan.masters.flow = vec![FlowPlan::default(); 1 + plan.masters.clocks.len()];
    let error = plan.validate().unwrap_err().to_string();
    assert!(error.contains("number of masters.flow is"), "{error}");
    plan.masters.flow.clear();
    plan.masters.batch_us = vec![0, 10_001];
    let error = plan.validate().unwrap_err().to_string();
    assert_eq!(error, "masters.batch_us[1] is 10001: it must be 0 to 10000");
    plan.masters.batch_us = vec![500; 1 + plan.masters.clocks.len()];
    let error = plan.validate().unwrap_err().to_string();
    assert!(error.contains("number of masters.batch_us is"), "{error}");
    plan.masters.batch_us.clear();
    plan.masters.timing_ms[1] = 1;
    let error = plan.validate().unwrap_err().to_string();
    assert!(error.contains("timing.election_min is 1ms"), "{error}");
    plan.masters.clocks.clear();
    assert!(plan.validate().unwrap_err().to_string().contains("number of masters.clocks is 0"));
    let known = serde_json::to_string(&with(FaultKind::Ring {})).unwrap();
    let unknown = known.replacen("{\"generator\"", "{\"colour\":1,\"generator\"", 1);
    assert!(Plan::read(&unknown).unwrap_err().to_string().contains("colour"));
}

/// A job with a change.
fn job(change: impl FnOnce(&mut JobPlan)) -> Operation {
    let mut job = JobPlan { tasks: 1, slots: 1, ..JobPlan::default() };
    change(&mut job);
    Operation::Submit { job }
}

/// Whether the core takes the change that an operation asks for.
fn taken(plan: &Plan) -> bool {
    let Operation::Submit { job } = &plan.clients[0].operations[0].operation else { panic!("no job") };
    let submit = pb::SubmitJobRequest {
        request_id: Some(pb::RequestId { session: 1, sequence: 1, lowest_open: 1 }),
        id: "a".to_owned(),
        specification: Some(job.specification()),
    };
    let request = pb::ClientRequest { body: Some(pb::client_request::Body::SubmitJob(submit)) };
    Command::from_request(&request, &plan.executors.lease()).is_ok()
}

#[test]
fn what_the_core_would_refuse_of_a_job_is_refused_and_all_else_runs() {
    let cases: [(Operation, Operation, &str); 6] = [
        (
            job(|job| job.slots = 1_000),
            job(|job| job.slots = 1_001),
            "job.slots is 1001: it must be 0 to 1000",
        ),
        (
            job(|job| job.stop_timeout_ms = 300_000),
            job(|job| job.stop_timeout_ms = 300_001),
            "job.stop_timeout_ms is 300001: it must be 0 to 300000",
        ),
        (
            job(|job| job.max_failures = 1_000_000),
            job(|job| job.max_failures = 1_000_001),
            "job.max_failures is 1000001: it must be 0 to 1000000",
        ),
        (
            job(|job| job.seldom.backoff_max_ms = 50),
            job(|job| job.seldom.backoff_max_ms = 49),
            "job.seldom.backoff_max_ms is 49: it must be 0 or 50 to 86400000",
        ),
        (
            job(|job| job.seldom.reset_after_ms = 31_536_000_000),
            job(|job| job.seldom.reset_after_ms = 31_536_000_001),
            "job.seldom.reset_after_ms is 31536000001: it must be 0 to 31536000000",
        ),
        (
            job(|job| job.tasks = 10_000),
            job(|job| job.tasks = 10_001),
            "job.tasks is 10001: it must be 0 to 10000",
        ),
    ];
    for (right, over, says) in cases {
        let (right, over) = (asking(right), asking(over));
        assert_eq!(right.validate(), Ok(()));
        assert!(taken(&right), "the core refuses what is right: {says}");
        let error = over.validate().unwrap_err().to_string();
        assert!(error.contains(says), "{error:?} does not say {says:?}");
        assert!(!taken(&over), "the core takes it: {says}");
    }
    let nothing = asking(Operation::Submit { job: JobPlan::default() });
    assert!(nothing.validate().is_ok() && taken(&nothing), "0 is the default everywhere");
}

#[test]
fn a_session_is_the_default_or_as_long_as_the_core_takes() {
    let mut plan = with(FaultKind::Ring {});
    for (millis, right) in
        [(0, true), (1, false), (999, false), (1_000, true), (3_600_000, true), (3_600_001, false)]
    {
        plan.clients[0].session_ttl_ms = millis;
        assert_eq!(plan.validate().is_ok(), right, "{millis}");
        plan.clients[0].session_ttl_ms = 0;
        plan.executors.session_ms = millis;
        assert_eq!(plan.validate().is_ok(), right, "{millis}");
        plan.executors.session_ms = 0;
    }
    plan.executors.session_ms = 999;
    let error = plan.validate().unwrap_err().to_string();
    assert_eq!(error, "executors.session_ms is 999: it must be 0 or 1000 to 3600000");
}

#[test]
fn a_made_id_is_not_farther_ahead_than_numbers_go() {
    let ahead = |entries| asking(Operation::SubmitAhead { entries, job: JobPlan::default() });
    assert_eq!(ahead(1_000_000).validate(), Ok(()));
    let error = ahead(u64::MAX).validate().unwrap_err().to_string();
    assert!(
        error.contains("operations[0].entries is 18446744073709551615: it must be 0 to 1000000"),
        "{error}"
    );
}

#[test]
fn a_plan_of_the_first_generator_is_read_as_it_was() {
    let plan = Plan::read(include_str!("../../tests/plans/generator-1.json")).unwrap();
    assert_eq!((plan.generator, plan.core.clone()), (1, None));
    let text = serde_json::to_string_pretty(&plan).unwrap();
    for later in [
        "core",
        "deaf",
        "seldom",
        "session_ms",
        "call_ppm",
        "call_late_ms",
        "hoards",
        "flow",
        "batch_us",
        "load_us",
        "held_bytes",
    ] {
        assert!(!text.contains(later), "{later}");
    }
}

/// What the generator of this number makes of 50 seeds. When it changes what a seed means, its number grows, and this does.
#[test]
fn a_change_of_what_seeds_mean_comes_with_a_new_number() {
    let mut hasher = siphasher::sip::SipHasher13::new();
    for seed in 0..50 {
        let plan = serde_json::to_vec(&generate(seed, &Limits::default())).expect("a plan is written");
        core::hash::Hasher::write(&mut hasher, &plan);
    }
    let made = (GENERATOR, core::hash::Hasher::finish(&hasher));
    assert_eq!(made, (10, 0xe302_4b5a_0047_0dde), "{made:x?}");
}
