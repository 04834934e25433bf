fn main() -> std::process::ExitCode {
    popleft_demos::perf2::main()
}
