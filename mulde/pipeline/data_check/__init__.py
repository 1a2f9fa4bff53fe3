"""`mulde data check`: what is wrong with a data set, its videos and its labels."""
