"""What each application is asked: a name for each question, and how it is put."""
