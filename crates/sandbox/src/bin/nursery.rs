//! The program `nursery`: see [`sandbox::nursery`].

fn main() -> std::process::ExitCode {
    sandbox::nursery::main(std::env::args().skip(1))
}
