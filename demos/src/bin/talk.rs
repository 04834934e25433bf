fn main() -> std::process::ExitCode {
    popleft_demos::talk::main()
}
