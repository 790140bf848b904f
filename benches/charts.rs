//! Draws the charts of `docs/charts` anew: `cargo bench --bench charts`, in under two minutes.
//!
//! | chart | what it shows |
//! |---|---|
//! | `latency.svg` | encrypting and decrypting by length: this crate, vodozemac, the primitives (as `compare` measures them) |
//! | `skipped.svg` | decrypting while messages are missing |
//! | `healing.svg` | how many messages a new key of the PQ ratchet takes, by loss and by how one-sided the conversation is |
//!
//! The first two are measurements: the cheapest of many short batches, taken in turns. The third is a simulation, seeded,
//! the same in every run. Prints what it has drawn, as tab-separated values.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark stops at what it did not expect, and prints what it found"
)]

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use chacha20::ChaCha20Rng;
use plotters::{
    coord::{
        Shift,
        combinators::{BindKeyPoints, IntoLogRange},
        ranged1d::{AsRangedCoord, Ranged, ValueFormatter},
    },
    prelude::{
        ChartBuilder, Circle, DrawingArea, IntoDrawingArea, IntoFont, LineSeries, PathElement, RGBColor,
        SVGBackend, SeriesLabelPosition, WHITE,
    },
    style::{BLACK, Color},
};
use rand::{RngExt, SeedableRng};
use subrosa::{IdentityKeyPair, PreKeys, Session, StorageKey, UnixTime};

mod common;
mod contest;
mod floor;

use common::{content, deliver, established, messages};
use contest::{BATCHES_PER_TURN, Case, Contender, decrypt, encrypt, timed_each};

/// How long each of the two measurements takes.
const TIME: Duration = Duration::from_secs(40);

/// Lengths of content, in bytes.
const LENGTHS: [usize; 7] = [16, 64, 256, 1024, 4 * 1024, 16 * 1024, 64 * 1024];

/// How many messages are missing: at most as many as keys are kept.
const MISSING: [usize; 7] = [0, 100, 250, 500, 1000, 1500, 2000];

/// Which part of the messages gets lost, in percent.
const LOSSES: [u8; 6] = [0, 10, 20, 30, 40, 50];

/// Which part of the messages is written by the side that writes more, in percent.
const SHARES: [u8; 6] = [50, 60, 70, 80, 90, 95];

/// Distinguishable whichever way one sees colours, and on paper (Okabe and Ito).
const BLUE: RGBColor = RGBColor(0, 114, 178);
const ORANGE: RGBColor = RGBColor(213, 94, 0);
const GREEN: RGBColor = RGBColor(0, 158, 115);
const GREY: RGBColor = RGBColor(110, 110, 110);

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let passed = |name: &str| arguments.iter().any(|argument| argument == name);
    // `cargo bench` passes `--bench`; without it, or with `--test`, this is a test that everything runs.
    let measure = passed("--bench") && !passed("--test");

    let charts = [
        ("latency", latency(measure)),
        ("skipped", skipped(measure)),
        ("healing", healing(if measure { 40 } else { 1 })),
    ];
    if measure {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/charts");
        fs::create_dir_all(&directory).unwrap();
        for (name, chart) in charts {
            fs::write(directory.join(name).with_extension("svg"), chart).unwrap();
        }
    }
}

/// Lets everybody have a turn, again and again.
fn measured(measure: bool, mut turn: impl FnMut()) {
    let start = Instant::now();
    turn();
    while measure && start.elapsed() < TIME {
        turn();
    }
}

fn latency(measure: bool) -> String {
    let mut operations = [("Encrypting", LENGTHS.map(encrypt)), ("Decrypting", LENGTHS.map(decrypt))];
    measured(measure, || {
        for case in operations.iter_mut().flat_map(|(_, cases)| cases) {
            case.turn(BATCHES_PER_TURN, case.batch);
        }
    });
    let line = |cases: &[Case], name, colour, contender: fn(&Case) -> &Contender| {
        let microseconds = cases.iter().map(|case| contender(case).nanoseconds / 1e3);
        Line::new(name, colour, LENGTHS.map(|length| length as f64).into_iter().zip(microseconds))
    };
    let panels = operations.map(|(operation, cases)| {
        let lines = [
            line(&cases, "Subrosa", BLUE, |case| &case.ours),
            line(&cases, "vodozemac (Olm, version 2)", ORANGE, |case| case.vodozemac.as_ref().unwrap()),
            line(&cases, "Subrosa's primitives alone", GREY, |case| &case.floor),
        ];
        (format!("{operation} one message"), lines)
    });
    chart(panels, |area, (caption, lines)| {
        let lengths: Vec<f64> = LENGTHS.iter().step_by(2).map(|length| *length as f64).collect();
        let x = Axis::new("length of the content, bytes", (12.0..90e3).log_scale().with_key_points(lengths))
            .with_labels(bytes);
        let ticks = vec![1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0];
        let y = Axis::new("time, microseconds", (1.0..300.0).log_scale().with_key_points(ticks));
        panel(area, &caption, x, y, &lines);
    })
}

/// 16 B, 1 KiB, 64 KiB.
fn bytes(count: &f64) -> String {
    if *count < 1024.0 { format!("{count} B") } else { format!("{} KiB", count / 1024.0) }
}

fn skipped(measure: bool) -> String {
    let mut contenders = MISSING.map(decrypt_with_missing);
    measured(measure, || {
        for contender in contenders.iter_mut().flatten() {
            contender.turn(BATCHES_PER_TURN, BATCH);
        }
    });
    let line = |which: usize, name, colour| {
        let microseconds = contenders.iter().map(|pair| pair[which].nanoseconds / 1e3);
        let points = MISSING.map(|missing| missing as f64).into_iter().zip(microseconds);
        Line::new(name, colour, points.filter(|(missing, _)| which == 0 || *missing > 0.0))
    };
    let lines = [line(0, "the next one in order", BLUE), line(1, "one of those that were missing", ORANGE)];
    let highest = lines.iter().flat_map(|line| &line.points).map(|(_, y)| *y).fold(0.0, f64::max);
    chart([lines], |area, lines| {
        let x = Axis::new("messages missing, whose keys are kept", 0.0..2000.0);
        let y = Axis::new("time, microseconds", 0.0..highest * 1.4);
        panel(area, "Decrypting one message of 256 bytes", x, y, &lines);
    })
}

/// How many messages are decrypted at a time.
const BATCH: usize = 16;

/// What the session is kept under, to begin anew from it.
const KEY: [u8; 32] = [7; 32];

/// With so many missing: messages in order, and some of those that are missing.
fn decrypt_with_missing(missing: usize) -> [Contender; 2] {
    let (mut alice, mut bob) = established();
    let all_missing = messages(&mut alice, content(256), missing);
    deliver(&mut alice, &mut bob);
    let bob = bob.seal(&StorageKey::from_bytes(&KEY));
    let first = messages(&mut alice, content(256), BATCH);
    let in_order = messages(&mut alice, content(256), BATCH);
    let late = (0..BATCH.min(missing)).map(|at| all_missing[at * missing / BATCH].clone());
    [in_order, late.collect::<Vec<_>>()].map(|messages| {
        let (key, bob, first) = (StorageKey::from_bytes(&KEY), bob.clone(), first.clone());
        Contender::new(move |_| {
            let mut bob = Session::open(&key, &bob).unwrap();
            // So that what it takes is in the caches.
            first.iter().for_each(|message| drop(bob.decrypt(message).unwrap()));
            timed_each(&messages, |message| bob.decrypt(message).unwrap())
        })
    })
}

fn healing(epochs: u32) -> String {
    let line = |name, colour, points: Vec<(u8, u8, u8)>| {
        let points = points.into_iter().map(|(x, loss, share)| {
            (f64::from(x), messages_per_epoch(epochs, Writes::AtRandom(share), loss))
        });
        Line::new(name, colour, points)
    };
    let in_turn = LOSSES.map(|loss| (f64::from(loss), messages_per_epoch(epochs, Writes::InTurn, loss)));
    let by_loss = vec![
        Line::new("in turn", BLUE, in_turn),
        line("at random, 50 : 50", GREEN, LOSSES.map(|loss| (loss, loss, 50)).into()),
        line("at random, 80 : 20", ORANGE, LOSSES.map(|loss| (loss, loss, 80)).into()),
        line("at random, 90 : 10", GREY, LOSSES.map(|loss| (loss, loss, 90)).into()),
    ];
    let by_share = vec![
        line("nothing lost", BLUE, SHARES.map(|share| (share, 0, share)).into()),
        line("20 % lost", GREEN, SHARES.map(|share| (share, 20, share)).into()),
        line("50 % lost", ORANGE, SHARES.map(|share| (share, 50, share)).into()),
    ];
    let highest =
        by_loss.iter().chain(&by_share).flat_map(|line| &line.points).map(|(_, y)| *y).fold(0.0, f64::max);
    let panels = [
        ("By loss", "messages lost, percent", 0.0..50.0, by_loss),
        ("By who writes", "messages of the side that writes more, percent", 50.0..95.0, by_share),
    ];
    chart(panels, |area, (caption, title, x, lines)| {
        let y = Axis::new("messages sent per epoch, both sides", 0.0..highest * 1.2);
        panel(
            area,
            &format!("New key of the PQ ratchet: {}", caption.to_lowercase()),
            Axis::new(title, x),
            y,
            &lines,
        );
    })
}

/// Who writes next.
#[derive(Clone, Copy)]
enum Writes {
    InTurn,
    /// Alice with this probability, in percent.
    AtRandom(u8),
}

/// Messages of 40 bytes that both sides send until both are in the next epoch: the mean over some.
fn messages_per_epoch(epochs: u32, writes: Writes, loss: u8) -> f64 {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut sides = established_with_rng(&mut rng);
    let behind = |sides: &[Session; 2]| sides.iter().map(Session::pq_epoch).min().unwrap();
    let end = behind(&sides) + epochs;
    let mut sent: u32 = 0;
    while behind(&sides) < end {
        let from = match writes {
            Writes::InTurn => sent as usize % 2,
            Writes::AtRandom(percent) => usize::from(rng.random_range(0..100) >= percent),
        };
        let message = sides[from].encrypt_with_rng(content(40), &mut rng).unwrap();
        sent += 1;
        if rng.random_range(0..100) >= loss {
            sides[1 - from].decrypt(&message).unwrap();
        }
    }
    f64::from(sent) / f64::from(epochs)
}

/// The same as [`established`], seeded.
fn established_with_rng(rng: &mut ChaCha20Rng) -> [Session; 2] {
    let now = UnixTime::from_secs(1_800_000_000);
    let [initiator, responder] = [(); 2].map(|()| IdentityKeyPair::generate_with_rng(rng));
    let mut prekeys = PreKeys::generate_with_rng(&responder, 1, now, rng);
    let bundle = prekeys.bundle().verify(now).unwrap();
    let mut alice = Session::initiate_with_rng(&initiator, bundle, &[], rng).unwrap();
    let first = alice.encrypt_with_rng(b"first", rng).unwrap();
    let mut bob = Session::accept_with_rng(&responder, &mut prekeys, &first, rng).unwrap().session;
    let answer = bob.encrypt_with_rng(b"answer", rng).unwrap();
    alice.decrypt(&answer).unwrap();
    [alice, bob]
}

/// What is measured over what.
struct Line {
    name: &'static str,
    colour: RGBColor,
    points: Vec<(f64, f64)>,
}

impl Line {
    fn new(name: &'static str, colour: RGBColor, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        Self { name, colour, points: points.into_iter().collect() }
    }
}

/// What a side of a panel says.
struct Axis<R> {
    title: &'static str,
    range: R,
    label: fn(&f64) -> String,
}

impl<R> Axis<R> {
    fn new(title: &'static str, range: R) -> Self {
        Self { title, range, label: f64::to_string }
    }

    fn with_labels(self, label: fn(&f64) -> String) -> Self {
        Self { label, ..self }
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// The panels beside each other, on white: a page may be dark.
fn chart<P, const N: usize>(panels: [P; N], mut draw: impl FnMut(&Area<'_>, P)) -> String {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (40 + 480 * N as u32, 400)).into_drawing_area();
        root.fill(&WHITE).unwrap();
        root.split_evenly((1, N)).iter().zip(panels).for_each(|(area, panel)| draw(area, panel));
        root.present().unwrap();
    }
    svg
}

/// Lines over two axes.
fn panel<X, Y>(area: &Area<'_>, caption: &str, x: Axis<X>, y: Axis<Y>, lines: &[Line])
where
    X: AsRangedCoord<Value = f64>,
    X::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let font = |size: u32| ("sans-serif", size).into_font();
    let mut chart = ChartBuilder::on(area)
        .caption(caption, font(19))
        .margin(12)
        .margin_right(24)
        .x_label_area_size(46)
        .y_label_area_size(58)
        .build_cartesian_2d(x.range, y.range)
        .unwrap();
    chart
        .configure_mesh()
        .max_light_lines(1)
        .light_line_style(BLACK.mix(0.02))
        .bold_line_style(BLACK.mix(0.12))
        .axis_style(BLACK.mix(0.6))
        .label_style(font(14))
        .axis_desc_style(font(16))
        .x_desc(x.title)
        .y_desc(y.title)
        .x_label_formatter(&x.label)
        .y_label_formatter(&y.label)
        .draw()
        .unwrap();
    for Line { name, colour, points } in lines {
        points.iter().for_each(|(x, y)| println!("{caption}\t{name}\t{x}\t{y:.2}"));
        let style = colour.stroke_width(2);
        chart
            .draw_series(LineSeries::new(points.iter().copied(), style))
            .unwrap()
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
        chart.draw_series(points.iter().map(|point| Circle::new(*point, 3, colour.filled()))).unwrap();
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.2))
        .label_font(font(15))
        .draw()
        .unwrap();
}
