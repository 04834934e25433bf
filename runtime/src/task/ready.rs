//! The deque of ready tasks.

use std::cell::RefCell;
use std::collections::VecDeque;

use crate::base::id::Id;
use crate::base::peak;
use crate::base::world::World;

/// The ready tasks, the one that has waited longest at the left end. Each is in here once, and its
/// state in the table is `Ready`.
#[derive(Default)]
pub(crate) struct Ready {
    tasks: RefCell<VecDeque<Id>>,
}

impl Ready {
    #[inline]
    pub(crate) fn push_back(&self, task: Id) {
        self.tasks.borrow_mut().push_back(task);
    }

    /// Takes the leftmost task, or the one that a simulated world chooses.
    #[inline]
    pub(crate) fn popleft(&self, world: &World) -> Option<Id> {
        world.choose(&mut self.tasks.borrow_mut())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tasks.borrow().is_empty()
    }

    /// Gives back the memory of a peak that is over.
    pub(crate) fn give_back(&self) {
        let mut tasks = self.tasks.borrow_mut();
        if peak::is_over(tasks.len(), tasks.capacity()) {
            tasks.shrink_to(peak::KEPT);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(number: u32) -> Id {
        Id { index: 0, number }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push(u32),
        Popleft,
    }

    proptest! {
        /// The model is a list: pushed at its end, popped at its beginning.
        #[test]
        fn the_deque_is_first_in_first_out(steps in proptest::collection::vec(
            prop_oneof![(0u32..100).prop_map(Step::Push), Just(Step::Popleft)], 0..200)
        ) {
            let ready = Ready::default();
            let mut model = vec![];
            for step in steps {
                match step {
                    Step::Push(number) => {
                        ready.push_back(id(number));
                        model.push(number);
                    }
                    Step::Popleft => {
                        let expected = (!model.is_empty()).then(|| model.remove(0));
                        prop_assert_eq!(ready.popleft(&World::Real).map(Id::number), expected);
                    }
                }
                prop_assert_eq!(ready.is_empty(), model.is_empty());
            }
        }
    }
}
