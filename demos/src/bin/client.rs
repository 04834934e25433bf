fn main() -> std::process::ExitCode {
    popleft_demos::client::main()
}
