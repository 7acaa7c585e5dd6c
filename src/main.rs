//! The program: hands over to `cli` and does nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    mqttlab::cli::main()
}
