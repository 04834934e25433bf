fn main() -> std::process::ExitCode {
    popleft_demos::deadlock::main()
}
