fn main() -> std::process::ExitCode {
    popleft_demos::rude::main()
}
