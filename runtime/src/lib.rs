//! popleft
