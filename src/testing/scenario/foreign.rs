//! Users ask for what others created.

use bytes::Bytes;
use fastrand::Rng;
use http::Request;

use super::{
    compare::{different, value},
    places::{Place, places},
    state::{State, Step, Thing},
};
use crate::testing::{Finding, Location};

/// How many things of others are asked for at most.
const MOST: usize = 64;

/// Lets each user ask for the things of others, and compares the answers with those for things that
/// don't exist.
pub(super) async fn ask_for_foreign_things(state: &State) -> Vec<Finding> {
    let rng = &mut state.rng.borrow_mut().fork();
    let things = state.things.borrow().clone();
    let mut findings = Vec::new();
    for (kind, ask) in &state.rules.foreign {
        let of_kind = things.iter().filter(|thing| thing.kind == *kind);
        let asked = of_kind.flat_map(|thing| {
            let others = (0..state.users.len()).filter(|reader| *reader != thing.owner);
            others.map(move |reader| (reader, thing))
        });
        let asked: Vec<(usize, &Thing)> = asked.take(MOST).collect();
        if asked.is_empty() {
            let reason = format!(
                "nobody created a thing of the kind `{kind}`: call `client.created({kind:?}, id)`"
            );
            findings.push(Finding::ShowsNothing { reason });
        }
        for (reader, thing) in asked {
            findings.extend(compared(state, (reader, thing), ask, rng).await);
        }
    }
    findings
}

async fn compared(
    state: &State,
    (reader, thing): (usize, &Thing),
    ask: &dyn Fn(&str) -> Request<Bytes>,
    rng: &mut Rng,
) -> Option<Finding> {
    let mut answered = Vec::new();
    for (seat, is_missing) in [
        (thing.owner, false),
        (thing.owner, true),
        (reader, false),
        (reader, true),
        (reader, true),
    ] {
        let id = if is_missing {
            missing_id(&thing.id, rng)
        } else {
            thing.id.clone()
        };
        answered.push(answer(state, seat, ask(&id), &id).await);
    }
    let [own, own_missing, foreign, missing, again] = &answered[..] else {
        return None;
    };
    let noise = different(&missing.places, &again.places);
    let is_noise = |place: &str| noise.iter().any(|(noisy, ..)| noisy == place);
    if different(&own.places, &own_missing.places)
        .iter()
        .all(|(place, ..)| is_noise(place))
    {
        let request = &own.step.request;
        let reason = format!("{request}: its owner gets the answer for what does not exist");
        return Some(Finding::ShowsNothing { reason });
    }
    let is_difference = |place: &str| {
        // An id may be a word of an answer by chance.
        let as_sent = |answered: &Answered| value(&places(&answered.step), place);
        !is_noise(place) && !state.rules.may_differ(place) && as_sent(foreign) != as_sent(missing)
    };
    let mut all = different(&foreign.places, &missing.places).into_iter();
    let (place, found, missing) = all.find(|(place, ..)| is_difference(place))?;
    Some(Finding::ForeignThing {
        reader: state.users[reader].id().to_owned(),
        owner: state.users[thing.owner].id().to_owned(),
        kind: thing.kind.clone(),
        location: Location {
            step: state.transcripts.borrow()[reader].steps.len() + 1,
            request: foreign.step.request.clone(),
            status: foreign.step.answer.status,
            place,
            excerpt: found.clone().unwrap_or_default(),
        },
        missing,
        foreign: found,
    })
}

struct Answered {
    step: Step,
    /// With `{id}` in place of the id.
    places: Vec<Place>,
}

async fn answer(state: &State, seat: usize, request: Request<Bytes>, id: &str) -> Answered {
    let label = format!("{} {}", request.method(), request.uri().path());
    let (answer, end) = state
        .exchange(seat, &state.users[seat], request, None)
        .await;
    let step = Step {
        request: label,
        answer,
        end,
    };
    let places = places(&step).into_iter();
    Answered {
        places: places
            .map(|(place, value)| (place, without_id(&value, id)))
            .collect(),
        step,
    }
}

/// Replaces the id, so that a message that repeats it is the same for each id. A short one is in
/// other values by chance, such as `0` in `404`, and replaced only where it is the value.
fn without_id(value: &str, id: &str) -> String {
    const SHORT: usize = 4;
    match value.trim_matches('"') {
        whole if whole == id => "{id}".to_owned(),
        _ if id.len() >= SHORT => value.replace(id, "{id}"),
        _ => value.to_owned(),
    }
}

/// Returns an id of the same form that nobody's thing has: each digit and letter is another one.
fn missing_id(id: &str, rng: &mut Rng) -> String {
    let is_hex = id
        .bytes()
        .all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    if id.len() < 10 && id.bytes().all(|byte| byte.is_ascii_digit()) {
        // A short number that is chosen at random may be there.
        return rng.u32(900_000_000..1_000_000_000).to_string();
    }
    let other = |char: char| match char {
        '0'..='9' => rng.digit(10),
        'a'..='f' if is_hex => rng.digit(16),
        'A'..='F' if is_hex => rng.digit(16).to_ascii_uppercase(),
        'a'..='z' => rng.lowercase(),
        'A'..='Z' => rng.uppercase(),
        char => char,
    };
    id.chars().map(other).collect()
}
