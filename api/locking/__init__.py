"""What a lock call does between its route and its execution: acquiring, the answer, cached reads."""
