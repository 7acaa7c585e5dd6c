//! `--fault`: what the bundled broker is told to do wrong, so that tests can be seen to fail. Hidden from
//! the help: nobody who tests a broker needs it.

use crate::broker::fault::{self, FaultSpec};

use super::Exit;

/// The arguments of the commands that start the bundled broker.
#[derive(Debug, Default, clap::Args)]
pub(super) struct FaultArgs {
    /// Makes the bundled broker misbehave on purpose; may be repeated; `list` prints all faults
    #[arg(long, value_name = "NAME", value_parser = parse, hide = true)]
    fault: Vec<Choice>,
}

/// One `--fault`.
#[derive(Debug, Clone, Copy)]
enum Choice {
    List,
    Fault(&'static FaultSpec),
}

fn parse(name: &str) -> Result<Choice, String> {
    if name == "list" { Ok(Choice::List) } else { FaultSpec::named(name).map(Choice::Fault) }
}

impl FaultArgs {
    /// The faults that are wanted, or, when they were asked for, all of them printed.
    pub(super) fn chosen(&self) -> Result<Vec<&'static FaultSpec>, Exit> {
        let faults = self.fault.iter().map(|choice| match choice {
            Choice::Fault(fault) => Some(*fault),
            Choice::List => None,
        });
        faults.collect::<Option<_>>().ok_or_else(|| {
            let width = fault::all().map(|fault| fault.name.len()).max().unwrap_or(0);
            for family in fault::FAMILIES {
                anstream::println!("{}:", family.title);
                for fault in family.faults {
                    anstream::println!("  {:width$}  {}", fault.name, fault.doc);
                }
            }
            Exit::Success
        })
    }

    /// True where the broker is to misbehave.
    pub(super) fn any(&self) -> bool {
        self.fault.iter().any(|choice| matches!(choice, Choice::Fault(_)))
    }

    /// The same, as words of a command line.
    pub(super) fn again(&self) -> impl Iterator<Item = String> {
        self.fault.iter().flat_map(|choice| match choice {
            Choice::Fault(fault) => vec!["--fault".to_owned(), fault.name.to_owned()],
            Choice::List => Vec::new(),
        })
    }
}
