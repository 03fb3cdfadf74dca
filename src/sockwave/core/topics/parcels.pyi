from sockwave.messages import MAX_SHARED_KEY_SIZE as MAX_SHARED_KEY_SIZE
from sockwave.messages import SLOW_POLICIES as SLOW_POLICIES
