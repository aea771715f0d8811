//! A question to a fleet: each AFTR that may have had the address is asked, and no answer hides another.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::Ipv4Addr;
use std::rc::Rc;

use super::http::Clickhouse;
use super::member::Member;
use crate::attribution::query::{Answer, Question, Verdict, judge, verdict};

/// A fleet to ask.
pub struct Fleet {
    clickhouse: Rc<Clickhouse>,
    /// Who has shipped anything.
    names: BTreeSet<String>,
    /// Who alone is asked.
    only: Option<String>,
    members: RefCell<BTreeMap<String, Rc<Member>>>,
    of_address: RefCell<BTreeMap<Ipv4Addr, Rc<Vec<String>>>>,
}

impl Fleet {
    /// Reads who is there. Only `aftr` is asked, where it is given.
    ///
    /// # Errors
    /// A ClickHouse that does not answer; nobody, or not `aftr`, has shipped anything.
    pub fn open(clickhouse: Clickhouse, aftr: Option<&str>) -> io::Result<Fleet> {
        let sql = "SELECT DISTINCT aftr FROM segments WHERE state = 'shipped' FORMAT JSONCompactEachRow";
        let names: BTreeSet<String> =
            clickhouse.rows(sql, &[])?.iter().filter_map(|row| row[0].as_str().map(str::to_owned)).collect();
        let missing = |why: String| Err(io::Error::new(io::ErrorKind::NotFound, why));
        if names.is_empty() {
            return missing(format!("{}: no AFTR has shipped anything there", clickhouse.address()));
        }
        if let Some(aftr) = aftr.filter(|aftr| !names.contains(*aftr)) {
            let all = names.into_iter().collect::<Vec<_>>().join(", ");
            return missing(format!(
                "no {aftr} has shipped anything to {}; there are {all}",
                clickhouse.address()
            ));
        }
        Ok(Fleet {
            clickhouse: Rc::new(clickhouse),
            names,
            only: aftr.map(str::to_owned),
            members: RefCell::default(),
            of_address: RefCell::default(),
        })
    }

    /// Answers a question. Several AFTRs may have had the address, at one time or at different ones: it is unknown if it
    /// is unknown of one of them.
    ///
    /// # Errors
    /// A ClickHouse that does not answer.
    pub fn ask(&self, question: &Question) -> io::Result<Answer> {
        let mut answers = Vec::new();
        for aftr in self.candidates(question.address)?.iter() {
            answers.push(judge(&*self.member(aftr)?, question)?);
        }
        Ok(combine(question, answers))
    }

    /// Who may have had an address: who has recorded it, or has a configuration with it, or does not say all of its
    /// configurations. If that is nobody, everybody is asked.
    fn candidates(&self, address: Ipv4Addr) -> io::Result<Rc<Vec<String>>> {
        if let Some(known) = self.of_address.borrow().get(&address) {
            return Ok(Rc::clone(known));
        }
        let candidates = match &self.only {
            Some(only) => vec![only.clone()],
            None if self.names.len() == 1 => self.names.iter().cloned().collect(),
            None => self.search(address)?,
        };
        let candidates = Rc::new(candidates);
        self.of_address.borrow_mut().insert(address, Rc::clone(&candidates));
        Ok(candidates)
    }

    fn search(&self, address: Ipv4Addr) -> io::Result<Vec<String>> {
        let sql = "SELECT DISTINCT aftr FROM intervals WHERE external_address = {address:IPv4} \
                   FORMAT JSONCompactEachRow";
        let rows = self.clickhouse.rows(sql, &[("address", &address)])?;
        let recorded: BTreeSet<&str> = rows.iter().filter_map(|row| row[0].as_str()).collect();
        let mut found = Vec::new();
        for name in &self.names {
            if recorded.contains(name.as_str()) || self.may_have(name, address)? {
                found.push(name.clone());
            }
        }
        Ok(if found.is_empty() { self.names.iter().cloned().collect() } else { found })
    }

    fn may_have(&self, aftr: &str, address: Ipv4Addr) -> io::Result<bool> {
        let (configurations, is_whole) = self.member(aftr)?.configurations();
        let mut pools = configurations.iter().flat_map(|config| &config.nat.external_ip_address_pool);
        Ok(!is_whole || pools.any(|pool| pool.external_ip_pool.iter().any(|net| net.contains(&address))))
    }

    fn member(&self, aftr: &str) -> io::Result<Rc<Member>> {
        if let Some(member) = self.members.borrow().get(aftr) {
            return Ok(Rc::clone(member));
        }
        let member = Rc::new(Member::open(&self.clickhouse, aftr)?);
        self.members.borrow_mut().insert(aftr.to_owned(), Rc::clone(&member));
        Ok(member)
    }
}

fn combine(question: &Question, mut answers: Vec<Answer>) -> Answer {
    if answers.len() == 1 {
        return answers.remove(0);
    }
    let unknown = answers.iter().find(|answer| matches!(answer.verdict, Verdict::Unknown(_)));
    let unknown = unknown.map(|answer| answer.verdict.clone());
    let known_until = answers.iter().map(|answer| answer.known_until).min().unwrap_or(0);
    let evidence: Vec<_> = answers.into_iter().flat_map(|answer| answer.evidence).collect();
    let verdict = unknown.unwrap_or_else(|| verdict(question, &evidence));
    Answer { question: *question, verdict, evidence, known_until }
}
