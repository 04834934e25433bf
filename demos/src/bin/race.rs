fn main() -> std::process::ExitCode {
    popleft_demos::race::main()
}
