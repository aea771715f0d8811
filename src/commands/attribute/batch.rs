//! Many questions in a file, and their answers: comma-separated, without quotes, for no field needs them.

use crate::attribution::query::{Answer, Question, Verdict};
use crate::attribution::{parse_time, time_text};
use crate::commands::refusal::Refusal;

use super::command::{Port, parse_port, parse_protocol, parse_uncertainty};

/// Reads `address,port,time,protocol,uncertainty`, one question a line; a first line of names, empty lines and
/// lines that begin with `#` are left out.
pub(super) fn questions(text: &str, uncertainty: u64) -> Result<Vec<Question>, Refusal> {
    let mut questions = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') || (questions.is_empty() && line.starts_with("address")) {
            continue;
        }
        let question = question(line, uncertainty).map_err(|why| Refusal {
            why: format!("line {number}: {why}"),
            cure: "write address,port,time,protocol,uncertainty; protocol and uncertainty may be left out"
                .to_owned(),
        })?;
        questions.push(question);
    }
    Ok(questions)
}

fn question(line: &str, uncertainty: u64) -> Result<Question, String> {
    let fields: Vec<&str> = line.split(',').map(str::trim).collect();
    let (&[address, port, time], rest) = fields.split_first_chunk().ok_or("it has less than three fields")?;
    let optional = |at: usize| rest.get(at).copied().filter(|field| !field.is_empty() && *field != "-");
    if rest.len() > 2 {
        return Err("it has more than five fields".to_owned());
    }
    let Port(port) = parse_port(if port.is_empty() { "-" } else { port })?;
    Ok(Question {
        address: address.parse().map_err(|_| format!("{address} is no IPv4 address"))?,
        port,
        time: parse_time(time)?,
        protocol: optional(0).map(parse_protocol).transpose()?,
        uncertainty: optional(1).map(parse_uncertainty).transpose()?.unwrap_or(uncertainty),
    })
}

/// One line for each answer; several subscribers, and what each of them held, are set apart by spaces.
pub(super) fn csv(answers: &[Answer]) -> String {
    let mut text =
        "address,port,time,protocol,verdict,reason,subscribers,b4,start,end,records,hashes\n".to_owned();
    for answer in answers {
        let question = &answer.question;
        let reason = match answer.verdict {
            Verdict::Unknown(reason) => reason.name(),
            Verdict::Unique(_) | Verdict::Ambiguous(_) | Verdict::None | Verdict::Broad(_) => "",
        };
        let each = |field: &dyn Fn(usize) -> String| {
            (0..answer.evidence.len()).map(field).collect::<Vec<_>>().join(" ")
        };
        let interval = |at: usize| &answer.evidence[at].interval;
        let subscribers: Vec<String> = answer.verdict.subscribers().iter().map(ToString::to_string).collect();
        let fields = [
            question.address.to_string(),
            question.port.map_or("-".to_owned(), |port| port.to_string()),
            time_text(question.time),
            question.protocol.map_or("-".to_owned(), |protocol| protocol.to_string()),
            answer.verdict.name().to_owned(),
            reason.to_owned(),
            subscribers.join(" "),
            each(&|at| interval(at).holding.b4.to_string()),
            each(&|at| time_text(interval(at).start)),
            each(&|at| interval(at).end.map_or("-".to_owned(), |(end, _)| time_text(end))),
            each(&|at| format!("{}-{}", interval(at).start_record, interval(at).end_record)),
            each(&|at| answer.evidence[at].hash().to_string()),
        ];
        text += &fields.join(",");
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_questions_is_read() {
        let text = "address,port,time\n198.51.100.1,2000,2026-11-21T12:00:00Z\n\n# all of it\n\
                    198.51.100.1,-,2026-11-21T12:00:00.5Z,udp,0.5\n";
        let questions = questions(text, 1000).unwrap();
        assert_eq!((questions.len(), questions[0].port, questions[0].uncertainty), (2, Some(2000), 1000));
        assert_eq!(
            (questions[1].port, questions[1].protocol, questions[1].uncertainty),
            (None, Some(17), 500)
        );
        assert_eq!(questions[1].time - questions[0].time, 500);
    }

    #[test]
    fn a_wrong_line_is_named() {
        let good = "198.51.100.1,2000,2026-11-21T12:00:00Z";
        for (wrong, why) in [
            ("198.51.100.1,2000", "line 2: it has less than three fields"),
            ("198.51.100.300,1,2026-11-21T12:00:00Z", "198.51.100.300 is no IPv4 address"),
            ("198.51.100.1,70000,2026-11-21T12:00:00Z", "0 to 65535"),
            ("198.51.100.1,1,yesterday", "write UTC as"),
        ] {
            let refusal = questions(&format!("{good}\n{wrong}\n"), 1000).unwrap_err().to_string();
            assert!(refusal.contains(why) && refusal.contains("line 2"), "{refusal}");
        }
    }
}
