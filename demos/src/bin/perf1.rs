fn main() -> std::process::ExitCode {
    popleft_demos::perf1::main()
}
