fn main() -> std::process::ExitCode {
    popleft_demos::fib_cores::main()
}
