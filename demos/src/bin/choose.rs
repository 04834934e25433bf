fn main() -> std::process::ExitCode {
    popleft_demos::choose::main()
}
