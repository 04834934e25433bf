fn main() -> std::process::ExitCode {
    popleft_demos::countdown::main()
}
