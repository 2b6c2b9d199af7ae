//! What `--check` tells, as a value: findings, and for each program and chart what counts it. Its JSON is the schema of `--json`.

use serde::Serialize;
use shared::config::LoadMode;
use shared::host::{Explanation, Finding, Grade, HostFacts, State, explain_text};
use shared::table::Table;
use shared::wire::{Plan, PlannedEvent, Rights, TriedHook};

use super::trial::Trial;
use crate::canary::Outcome;

/// Raised when a field of the JSON changes its meaning or goes away.
pub const SCHEMA: u32 = 1;

/// The whole answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Every program counts everything.
    All,
    /// Every program runs, and something is not counted.
    Degraded,
    /// A program cannot run.
    Part,
    /// No program can run.
    Nothing,
}

impl Verdict {
    /// The exit code of `--check`.
    pub fn exit_code(self) -> u8 {
        match self {
            Verdict::All => 0,
            Verdict::Degraded => 10,
            Verdict::Part => 20,
            Verdict::Nothing => 30,
        }
    }
}

/// Everything that `--check` tells.
#[derive(Debug, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The whole answer.
    pub verdict: Verdict,
    /// Of this process.
    pub exit_code: u8,
    /// How it was found out: `tried`, `facts` or `forecast`.
    pub how: &'static str,
    /// The kernel.
    pub release: String,
    /// CPUs for which maps have room.
    pub possible_cpus: usize,
    /// What the facts say.
    pub findings: Vec<Finding>,
    /// What each program can do.
    pub programs: Vec<Program>,
}

/// What a program can do.
#[derive(Debug, Serialize)]
pub struct Program {
    /// The option of `[ebpf programs]`.
    pub program: String,
    /// Its module.
    pub module: String,
    /// `entry` or `return`.
    pub mode: &'static str,
    /// Whether it runs, and counts everything.
    pub state: ProgramState,
    /// Which objects were loaded: `rows`, `hash` or `legacy`.
    pub objects: String,
    /// The objects that come before those, and what they could not count, or why they could not be loaded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub passed_over: Vec<String>,
    /// Kernel memory of its maps, for the CPUs of this host; left out where no map was made (forecasts, failures), and so nothing is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub map_bytes: Option<u64>,
    /// What its worker may still do once it counts; left out where none was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rights: Option<Rights>,
    /// Why it cannot run.
    pub failure: Option<Failure>,
    /// What the charts show.
    pub charts: Vec<ChartVerdict>,
    /// What counts each event.
    pub events: Vec<EventVerdict>,
    /// Whether a known number of operations came out.
    pub canary: CanaryVerdict,
    /// Every hook, with `--hooks` and in forecasts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tried_hooks: Vec<TriedHook>,
}

/// How much of a program works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ProgramState {
    /// Everything.
    All,
    /// Something is not counted.
    Degraded,
    /// It cannot run.
    Cannot,
}

/// What went wrong, and what to do.
#[derive(Debug, Clone, Serialize)]
pub struct Failure {
    /// What the kernel or the worker said.
    pub evidence: String,
    /// Why.
    pub cause: String,
    /// What to do.
    pub fix: String,
}

/// What a chart shows.
#[derive(Debug, Serialize)]
pub struct ChartVerdict {
    /// Its id.
    pub chart: String,
    /// `yes`: all its dimensions; `no`: none, so it does not exist.
    pub state: ChartState,
    /// Its dimensions.
    pub dimensions: Vec<DimensionVerdict>,
}

/// How much of a chart there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChartState {
    /// All of it.
    Yes,
    /// Some dimensions.
    Part,
    /// None.
    No,
}

/// What a dimension shows; in charts of applications there is one of these for all groups.
#[derive(Debug, Serialize)]
pub struct DimensionVerdict {
    /// Its id.
    pub dimension: String,
    /// What it shows.
    pub event: String,
    /// How it is counted, such as `fexit`; `None`: not at all.
    pub strategy: Option<String>,
}

/// What counts an event.
#[derive(Debug, Serialize)]
pub struct EventVerdict {
    /// Its name.
    pub event: String,
    /// Whether charts show it; else it only tells who is who.
    pub counts: bool,
    /// Attachments.
    pub hooks: Vec<String>,
    /// Better candidates (or all), and why they are not used.
    pub refused: Vec<Failure>,
}

/// What the canary said.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CanaryVerdict {
    /// Nothing was tried.
    NotTried,
    /// It could not be tried, and why.
    Failed(String),
    /// What was counted of what it did.
    Counted(Outcome),
}

fn failure(evidence: &str, facts: &HostFacts) -> Failure {
    let told = explain_text(evidence, facts);
    let Explanation { cause, fix, .. } = told.unwrap_or(Explanation { id: "", cause: "", fix: "" });
    Failure { evidence: evidence.to_owned(), cause: cause.to_owned(), fix: fix.to_owned() }
}

impl Program {
    /// From a trial.
    pub fn tried(table: &Table, mode: LoadMode, apps: bool, trial: Trial, facts: &HostFacts) -> Self {
        match trial {
            Trial::Attached(plan, canary) => {
                let canary = match canary {
                    Ok(Some(outcome)) => CanaryVerdict::Counted(outcome),
                    Ok(None) => CanaryVerdict::NotTried,
                    Err(why) => CanaryVerdict::Failed(why),
                };
                Program::planned(table, mode, apps, &plan, canary, facts)
            }
            Trial::Failed(why) => {
                let mut program =
                    Program::planned(table, mode, apps, &Plan::default(), CanaryVerdict::NotTried, facts);
                program.state = ProgramState::Cannot;
                program.failure = Some(failure(&why, facts));
                program
            }
        }
    }

    /// From a plan.
    pub fn planned(
        table: &Table,
        mode: LoadMode,
        apps: bool,
        plan: &Plan,
        canary: CanaryVerdict,
        facts: &HostFacts,
    ) -> Self {
        let counts =
            |name: &str| table.events.iter().any(|event| event.name == name && !event.counters.is_empty());
        let event = |planned: &PlannedEvent| EventVerdict {
            event: planned.event.clone(),
            counts: counts(&planned.event),
            hooks: planned.attached.clone(),
            refused: planned.refused.iter().map(|reason| failure(reason, facts)).collect(),
        };
        let events: Vec<EventVerdict> = plan.events.iter().map(event).collect();
        let counted = events.iter().filter(|event| event.counts && !event.hooks.is_empty()).count();
        let wanted = events.iter().filter(|event| event.counts).count();
        let miscounts = match &canary {
            CanaryVerdict::NotTried => false,
            CanaryVerdict::Failed(_) => true,
            CanaryVerdict::Counted(outcome) => !outcome.wrong().is_empty(),
        };
        let state = match counted {
            0 => ProgramState::Cannot,
            _ if counted < wanted || miscounts => ProgramState::Degraded,
            _ => ProgramState::All,
        };
        Program {
            program: table.option.clone(),
            module: table.module.clone(),
            mode: if mode == LoadMode::Return { "return" } else { "entry" },
            state,
            objects: plan.flavour.clone(),
            passed_over: plan.passed_over.clone(),
            map_bytes: Some(plan.map_bytes).filter(|&bytes| bytes > 0),
            rights: plan.rights.clone(),
            failure: None,
            charts: charts(table, mode, apps, plan),
            events,
            canary,
            tried_hooks: Vec::new(),
        }
    }
}

/// The kind of an event's attachments: `fexit`, or `kprobe+kretprobe`.
fn strategy(plan: &Plan, event: &str) -> Option<String> {
    let planned = plan.events.iter().find(|planned| planned.event == event)?;
    let mut kinds: Vec<&str> =
        planned.attached.iter().filter_map(|attachment| attachment.split(':').next()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    (!kinds.is_empty()).then(|| kinds.join("+"))
}

fn charts(table: &Table, mode: LoadMode, apps: bool, plan: &Plan) -> Vec<ChartVerdict> {
    let counters = || {
        let of_event = |event: &'_ shared::table::Event| event.name.clone();
        table.events.iter().filter(|event| event.mode.exists_in(mode)).flat_map(move |event| {
            let name = of_event(event);
            event
                .counters
                .iter()
                .filter(move |counter| counter.mode.exists_in(mode))
                .map(move |counter| (name.clone(), counter))
        })
    };
    let mut all = Vec::new();
    for heading in &table.charts {
        let mut dimensions = Vec::new();
        for (event, counter) in counters() {
            let place = counter.chart.as_ref().filter(|place| place.id == heading.id);
            let of_groups = apps && counter.apps.as_ref() == Some(&heading.id);
            let dimension = match place {
                Some(place) => place.dimension.clone(),
                None if of_groups => "(each group)".to_owned(),
                None => continue,
            };
            dimensions.push(DimensionVerdict { dimension, strategy: strategy(plan, &event), event });
        }
        for difference in &heading.differences {
            let event_of =
                |name: &str| counters().find(|(_, counter)| counter.name == name).map(|(event, _)| event);
            if let (Some(of), Some(less)) = (event_of(&difference.of), event_of(&difference.less)) {
                let both = strategy(plan, &of).and_then(|of| Some((of, strategy(plan, &less)?)));
                dimensions.push(DimensionVerdict {
                    dimension: difference.dimension.clone(),
                    strategy: both.map(|(of, less)| if of == less { of } else { format!("{of}+{less}") }),
                    event: of,
                });
            }
        }
        if dimensions.is_empty() {
            continue;
        }
        let shown = dimensions.iter().filter(|dimension| dimension.strategy.is_some()).count();
        let state = match shown {
            0 => ChartState::No,
            _ if shown < dimensions.len() => ChartState::Part,
            _ => ChartState::Yes,
        };
        all.push(ChartVerdict { chart: heading.id.clone(), state, dimensions });
    }
    all
}

impl Report {
    /// Puts findings and programs together. Where programs were tried or forecast they have the last word.
    pub fn new(how: &'static str, facts: &HostFacts, findings: Vec<Finding>, programs: Vec<Program>) -> Self {
        let verdict = if shared::host::hopeless(&findings).is_some() && how == "tried" {
            Verdict::Nothing
        } else if programs.is_empty() {
            by_findings(&findings)
        } else {
            by_programs(&programs)
        };
        Report {
            schema: SCHEMA,
            verdict,
            exit_code: verdict.exit_code(),
            how,
            release: facts.release.clone(),
            possible_cpus: facts.cpus.possible,
            findings,
            programs,
        }
    }
}

fn by_programs(programs: &[Program]) -> Verdict {
    let cannot = programs.iter().filter(|program| program.state == ProgramState::Cannot).count();
    match cannot {
        0 if programs.iter().all(|program| program.state == ProgramState::All) => Verdict::All,
        0 => Verdict::Degraded,
        _ if cannot < programs.len() => Verdict::Part,
        _ => Verdict::Nothing,
    }
}

fn by_findings(findings: &[Finding]) -> Verdict {
    let worst =
        findings.iter().filter(|finding| finding.state != State::Yes).map(|finding| finding.grade).max();
    match worst {
        Some(Grade::Bad) => Verdict::Nothing,
        Some(Grade::Less) => Verdict::Degraded,
        _ => Verdict::All,
    }
}
